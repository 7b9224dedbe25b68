"""ipip by programs, with packets between two nodes: what gets through, is refused and counted, and is repaired."""

import multiprocessing
import socket
from collections.abc import Callable
from ipaddress import IPv4Interface, ip_address, ip_network
from random import Random
from select import select

import pytest

from twonodes import (
    NODE,
    POD,
    SOURCE,
    UPLINK,
    at_two_nodes,
    datagrams,
    heard,
    need_programs,
    opened,
    ping,
    place,
    transfer,
    wrapped,
)
from vallum.kernel import ipip, ipip_maps, netns, offload, sysctl, tc
from vallum.kernel.ipip import IpipReport, counts, sync_bpf
from vallum.kernel.offload import Offload
from vallum.kernel.rtevents import Change, RouteWatch
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.wiring import Carried, Ipip, Origin, Route, Wiring

pytestmark = pytest.mark.packets

DEVICE = "vallum.ipip"
RANGE = {one: ip_network(f"10.44.{one}.0/24") for one in NODE}
DROPS = {"no-way": 0, "unknown-outer": 0, "wrong-inner": 0, "fragment": 0, "malformed": 0}


@pytest.fixture(autouse=True)
def _able() -> None:
    need_programs()


def wiring(number: int, mtu: int = 1480) -> Wiring:
    """Of a node: the way to the other's pods, and where they come from."""
    other = 3 - number
    remote = ip_address(NODE[other])
    return Wiring(
        devices=frozenset({Ipip(DEVICE, "bpf", mtu, ip_address(NODE[number]))}),
        carried=frozenset({Carried(DEVICE, RANGE[other], remote)}),
        origins=frozenset({Origin(DEVICE, remote, inner) for inner in (RANGE[other], ip_network(remote))}),
    )


def sync(number: int, wanted: Wiring, *, read: bool = True) -> IpipReport:
    with netns.entered(place(f"node{number}")), Rtnetlink() as netlink:
        return sync_bpf(netlink, wanted, read=read)


def stand() -> None:
    """The tunnel between both nodes, with the addresses and routes that are others' business."""
    for number in NODE:
        assert not sync(number, wiring(number)).problems
        other = 3 - number
        with netns.entered(place(f"node{number}")), Rtnetlink() as netlink:
            netlink.add_address(DEVICE, IPv4Interface(SOURCE[number]))
            netlink.add_route(Route(RANGE[other], ip_address(NODE[other]), DEVICE, onlink=True, source=SOURCE[number]))


def dropped(number: int) -> dict[str, int]:
    with netns.entered(place(f"node{number}")):
        return counts()


def test_pods_and_nodes_reach_pods_of_the_other_node() -> None:
    def piece() -> list[str]:
        stand()
        return [ping(*way) for way in (("pod1", POD[2]), ("pod2", POD[1]), ("node1", POD[2]), ("pod1", str(SOURCE[2])))]

    assert at_two_nodes(piece) == ["answer"] * 4


def test_a_node_s_own_address_answers_a_pod_through_the_tunnel_although_its_link_is_elsewhere() -> None:
    """The question takes the plain way, on which the answerer is loose here; the answer comes out of the tunnel."""

    def piece() -> str:
        stand()
        for name, device in (("node2", UPLINK), ("router", "node1")):
            with netns.entered(place(name)):
                sysctl.write(f"net/ipv4/conf/{device}/rp_filter", 2)
        with netns.entered(place("router")), Rtnetlink() as netlink:
            netlink.add_route(Route(RANGE[1], ip_address(NODE[1])))
        return ping("pod1", NODE[2])

    assert at_two_nodes(piece) == "answer"


def test_on_the_wire_each_packet_is_whole_inside_one_of_protocol_4_with_its_tos_and_df() -> None:
    def piece() -> tuple[bytes, ...]:
        stand()
        with netns.entered(place("router")):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        tap.settimeout(5)
        with tap, opened("pod1", socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
            client.setsockopt(socket.IPPROTO_IP, 10, 2)
            client.sendto(b"text", (POD[2], 9))
            while (packet := tap.recv(2048))[9] != socket.IPPROTO_IPIP:
                pass
        return packet[:20], packet[20:40], packet[48:]

    outer, inner, body = at_two_nodes(piece)
    assert (outer[1], outer[6] >> 6, outer[8]) == (0xB8, 1, 64)
    assert outer[12:] == ip_address(NODE[1]).packed + ip_address(NODE[2]).packed
    assert (inner[1], inner[9]) == (0xB8, socket.IPPROTO_UDP)
    assert inner[12:] == ip_address(POD[1]).packed + ip_address(POD[2]).packed
    assert body == b"text"


ENDS = (("pod1", "eth0"), ("node1", UPLINK), ("node2", UPLINK), ("pod2", "eth0"))
BEHIND = (("node2", "v-pod2"),)


def switched(places: tuple[tuple[str, str], ...], *features: Offload, on: bool) -> None:
    for name, device in places:
        with netns.entered(place(name)):
            for feature in features:
                offload.switch(device, feature, on=on)


CUTTING: dict[str, Callable[[], None]] = {
    "nowhere": lambda: None,
    "before the tunnel": lambda: switched(ENDS[:1], Offload.TSO, Offload.GSO, on=False),
    "at the uplinks": lambda: switched(ENDS[1:3], Offload.TSO, Offload.GSO, on=False),
    "at the uplinks, and put together again": lambda: (
        switched(ENDS[1:3], Offload.TSO, on=False),
        switched(ENDS[1:3], Offload.GRO, on=True),
    )[0],
    "behind the tunnel": lambda: switched(BEHIND, Offload.TSO, Offload.GSO, on=False),
}
"""Where large packets are cut to the size that a link takes."""


@pytest.mark.parametrize("cutting", CUTTING)
def test_a_stream_arrives_whole_from_pods_that_believe_in_the_full_mtu(cutting: str) -> None:
    def piece() -> tuple[int, list[int]]:
        stand()
        CUTTING[cutting]()
        return transfer("pod1", "pod2", POD[2], 20_000_000), list(dropped(2).values())

    assert at_two_nodes(piece) == (20_000_000, [0] * 5)


def test_a_packet_that_may_not_be_cut_is_answered_with_the_mtu_of_the_tunnel() -> None:
    def piece() -> list[str]:
        stand()
        return [ping("pod1", POD[2], size, whole=True) for size in (1453, 1452)]

    assert at_two_nodes(piece) == ["too large, 1480", "answer"]


@pytest.mark.parametrize("cutting", CUTTING)
def test_datagrams_that_the_kernel_cuts_arrive_in_their_sizes(cutting: str) -> None:
    def piece() -> list[int]:
        stand()
        CUTTING[cutting]()
        return datagrams("pod1", "pod2", POD[2], 40 * 1400, segment=1400)

    assert at_two_nodes(piece) == [1400] * 40


def test_a_large_datagram_is_cut_into_fragments_and_arrives() -> None:
    def piece() -> list[int]:
        stand()
        return datagrams("pod1", "pod2", POD[2], 9000)

    assert at_two_nodes(piece) == [9000]


def test_only_a_known_node_may_send_and_only_from_its_own_pods() -> None:
    """Packets made up at the router: the right one arrives, so that the others did not get lost by another mistake."""

    def piece() -> tuple[tuple[bytes, str], dict[str, int]]:
        stand()

        def send() -> None:
            wrapped(POD[1], POD[2], NODE[2], "172.20.9.9")
            wrapped("10.44.7.7", POD[2], NODE[2], NODE[1])
            wrapped("10.44.7.7", POD[2], NODE[2], "172.20.9.9")
            wrapped(POD[1], POD[2], NODE[2], NODE[1])

        return heard("pod2", POD[2], send), dropped(2)

    found, drops = at_two_nodes(piece)
    assert found == (b"spam", POD[1])
    assert drops == DROPS | {"unknown-outer": 2, "wrong-inner": 1}


def test_what_nothing_carries_is_dropped_and_counted() -> None:
    def piece() -> tuple[str, int]:
        stand()
        with netns.entered(place("node1")), Rtnetlink() as netlink:
            netlink.add_route(Route(ip_network("10.44.9.0/24"), ip_address(NODE[2]), DEVICE, onlink=True))
        return ping("pod1", "10.44.9.9", within=0.2), dropped(1)["no-way"]

    assert at_two_nodes(piece) == ("silence", 1)


def test_traffic_flows_on_when_who_made_the_tunnel_dies_and_the_next_one_takes_over() -> None:
    def piece() -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
        maker = multiprocessing.get_context("fork").Process(target=stand)
        maker.start()
        maker.join()
        before = ping("pod1", POD[2])
        report = sync(1, wiring(1))
        return before, report.changed, report.drift, ping("pod1", POD[2])

    before, changed, drift, after = at_two_nodes(piece)
    assert (before, after, drift) == ("answer", "answer", ())
    assert "device vallum.ipip" not in changed
    assert {"program vallum_carry on vallum.ipip", f"program vallum_unwrap on {UPLINK}"} <= set(changed)


def test_what_somebody_took_away_is_put_back_and_named() -> None:
    def damage(number: int) -> None:
        with netns.entered(place(f"node{number}")), Rtnetlink() as netlink:
            for one in tc.attached(netlink):
                tc.detach(netlink, one)
            netlink.set_link(DEVICE, mtu=1300)
        tunnel = ipip._tunnels[at(number)]
        ways = tunnel._way_table._map
        ways.delete_all(ways.items())

    def at(number: int) -> int:
        with netns.entered(place(f"node{number}")):
            return ipip._namespace()

    def piece() -> tuple[str, IpipReport, str, IpipReport]:
        stand()
        damage(1)
        return ping("pod1", POD[2], within=0.2), sync(1, wiring(1)), ping("pod1", POD[2]), sync(1, wiring(1))

    cut, repair, whole, quiet = at_two_nodes(piece)
    assert (cut, whole) == ("silence", "answer")
    assert repair.drift == (
        "device vallum.ipip had become mtu 1300",
        "way to 10.44.2.0/24 by 172.20.2.1 was gone",
        f"program vallum_unwrap on {UPLINK} was gone",
        "program vallum_carry on vallum.ipip was gone",
    )
    assert quiet == IpipReport()


def test_a_device_deleted_by_hand_is_made_again_and_named() -> None:
    def piece() -> tuple[tuple[str, ...], list[str]]:
        stand()
        with netns.entered(place("node1")), Rtnetlink() as netlink:
            netlink.delete_link(DEVICE)
            report = sync(1, wiring(1))
            return report.drift, [one.name for one in tc.attached(netlink)]

    assert at_two_nodes(piece) == (("device vallum.ipip was gone",), ["vallum_unwrap", "vallum_carry"])


def test_a_changed_wish_is_met_without_reading_the_kernel() -> None:
    def piece() -> tuple[IpipReport, IpipReport, IpipReport]:
        stand()
        more = Carried(DEVICE, ip_network("10.44.3.0/24"), ip_address(NODE[2]))
        known = wiring(1)
        wider = Wiring(devices=known.devices, carried=known.carried | {more}, origins=known.origins)
        return sync(1, wider, read=False), sync(1, known, read=False), sync(1, known)

    added, removed, quiet = at_two_nodes(piece)
    way = ("way to 10.44.3.0/24 by 172.20.2.1",)
    assert (added, removed, quiet) == (IpipReport(way), IpipReport(way), IpipReport())


def test_what_stands_is_not_touched_again_so_that_no_event_of_ours_calls_for_the_next_sync() -> None:
    def piece() -> tuple[IpipReport, frozenset[Change]]:
        stand()
        with netns.entered(place("node1")), RouteWatch() as watch:
            while select([watch], [], [], 0.2)[0]:  # what new links still cause
                watch.read()
            return sync(1, wiring(1)), watch.read()

    assert at_two_nodes(piece) == (IpipReport(), frozenset())


def test_a_link_by_which_no_peer_is_reached_any_more_loses_its_program() -> None:
    def piece() -> tuple[tuple[str, ...], list[str]]:
        stand()
        with netns.entered(place("node1")), Rtnetlink() as netlink:
            program = ipip._tunnels[ipip._namespace()]._programs[tc.INGRESS]
            tc.attach(netlink, netlink.link("v-pod1").index, tc.INGRESS, program)
            return sync(1, wiring(1)).changed, [one.name for one in tc.attached(netlink)]

    assert at_two_nodes(piece) == (("program vallum_unwrap on v-pod1",), ["vallum_unwrap", "vallum_carry"])


@pytest.mark.parametrize("seed", range(3))
def test_after_any_walk_of_wishes_the_maps_hold_the_last_one_and_no_more(seed: int) -> None:
    """Ranges change hands, peers share and lose ranges, come and go; nothing is read between."""

    def wish(choice: Random) -> Wiring:
        known, peers = wiring(1), [ip_address(f"172.20.2.{one}") for one in range(1, 5)]
        ranges = {ip_network(f"10.44.{one}.0/24"): choice.choice(peers) for one in choice.sample(range(2, 9), 4)}
        return Wiring(
            devices=known.devices,
            carried=frozenset(Carried(DEVICE, inner, remote) for inner, remote in ranges.items()),
            origins=frozenset(Origin(DEVICE, remote, inner) for inner, remote in ranges.items()),
        )

    def piece() -> list[tuple[bool, bool]]:
        stand()
        choice, found = Random(seed), []
        for _ in range(40):
            last = wish(choice)
            assert not sync(1, last, read=False).problems
            with netns.entered(place("node1")):
                tunnel = ipip._tunnels[ipip._namespace()]
            (uplink,) = set(tunnel._uplinks.values())
            ways = ipip_maps.ways(last.carried, dict.fromkeys((one.remote for one in last.carried), uplink))
            origins = ipip_maps.origins(last.origins)
            found.append((tunnel._way_table._map.items() == ways, tunnel._origin_table._map.items() == origins))
        return found

    assert at_two_nodes(piece) == [(True, True)] * 40


def test_nothing_is_left_where_no_such_device_is_wanted() -> None:
    def piece() -> tuple[tuple[str, ...], list[str], int, IpipReport]:
        stand()
        report = sync(1, Wiring())
        with netns.entered(place("node1")), Rtnetlink() as netlink:
            names = [one.name for one in netlink.links() if one.name.startswith("vallum")]
            return report.changed, names, len(tc.attached(netlink)), sync(1, Wiring())

    changed, names, programs, again = at_two_nodes(piece)
    assert changed == ("device vallum.ipip", "program vallum_unwrap")
    assert (names, programs, again) == ([], 0, IpipReport())


def test_a_peer_without_a_way_is_a_problem_and_the_others_are_reached() -> None:
    def piece() -> tuple[IpipReport, str]:
        stand()
        with netns.entered(place("node1")), Rtnetlink() as netlink:
            netlink.delete_route(ip_network("0.0.0.0/0"), protocol=4)
            netlink.add_route(Route(ip_network("172.20.2.0/24"), ip_address("172.20.1.2")))
        lost = Carried(DEVICE, ip_network("10.44.3.0/24"), ip_address("172.20.3.1"))
        known = wiring(1)
        wider = Wiring(devices=known.devices, carried=known.carried | {lost}, origins=known.origins)
        return sync(1, wider), ping("pod1", POD[2])

    report, answer = at_two_nodes(piece)
    assert [str(one.text) for one in report.problems] == ["no route leads to 172.20.3.1"]
    assert answer == "answer"
