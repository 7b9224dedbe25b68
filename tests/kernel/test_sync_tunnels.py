"""Tunnel devices and what is on them: made whole, mended live, remade where nothing else helps, and swept; whatever way
led there, the kernel ends up with what is wished and nothing else.
"""

import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from random import Random
from typing import Any, TypeVar

import pytest

from inside import run_inside
from vallum.kernel import held
from vallum.kernel.differ import Own
from vallum.kernel.netlink import CREATE, EXCL, REPLACE, RequestError, attribute, messages
from vallum.kernel.offload import Offload, is_on, switch
from vallum.kernel.rtmessages import DELNEIGH, NEWLINK, NEWNEIGH, forward, no_forward, no_neighbour, read_route
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import Standing, SyncReport, sync
from vallum.kernel.tunnels import LEARNING, changed, made
from vallum.model.errors import KernelError
from vallum.model.wiring import Forward, Ipip, Neighbour, Route, Vxlan, Wiring

pytestmark = pytest.mark.packets

Result = TypeVar("Result")
DEVICE = Vxlan(
    *("vallum.vxlan4", 86, 8472, "02:00:00:00:00:01", 1450, ip_address("172.20.0.11")),
    addresses=(ip_interface("10.44.1.0/32"), ip_interface("fd44:0:0:1::/128")),
)
SIX = replace(DEVICE, name="vallum.vxlan6", mtu=1430, local=ip_address("fd00::11"), addresses=())
MAC, PEER, LINK_LOCAL = "02:00:00:00:00:0c", ip_address("172.20.0.12"), ip_address("fe80::ff:fe00:12")
PEERS = range(12, 20)


def peer(number: int) -> Wiring:
    """What one peer takes: in IPv4 over IPv4."""
    mac, outer = f"02:00:00:00:00:{number:02x}", ip_address(f"172.20.0.{number}")
    source = ip_address("10.44.1.0")
    return Wiring(
        frozenset({Route(ip_network(f"10.44.{number}.0/24"), outer, DEVICE.name, True, source, 1450)}),
        neighbours=frozenset({Neighbour(DEVICE.name, outer, mac)}),
        forwards=frozenset({Forward(DEVICE.name, mac, outer)}),
    )


def merged(*parts: Wiring, devices: frozenset[Any] = frozenset({DEVICE})) -> Wiring:
    return Wiring(
        frozenset().union(*(part.routes for part in parts)),
        devices=devices,
        neighbours=frozenset().union(*(part.neighbours for part in parts)),
        forwards=frozenset().union(*(part.forwards for part in parts)),
    )


WIRING = merged(*map(peer, PEERS))


def on_a_node(piece: Callable[[Rtnetlink], Result], *, as_nobody: bool = False) -> Result:
    """`piece` where a link reaches 172.20.0.0/24."""

    def linked() -> Result:
        with Rtnetlink() as netlink:
            netlink.add_veth("up0", "up1", mac="02:00:00:00:01:01", peer_mac="02:00:00:00:01:02", mtu=1500)
            netlink.set_link("up1", up=True)
            netlink.add_address("up0", ip_interface("172.20.0.11/24"))
            netlink.add_address("up0", ip_interface("fd00::11/64"))
            return piece(netlink)

    return run_inside(linked, as_nobody=as_nobody)


def read_back(netlink: Rtnetlink) -> Wiring:
    """Everything of ours that the kernel holds; the devices by name alone."""
    indexes = {one.name: one.index for one in netlink.links()}
    ours = {name: index for name, index in indexes.items() if name.startswith("vallum.")}
    entries, routes = held.entries(netlink, ours), held.routes(netlink, {at: name for name, at in indexes.items()})
    assert not entries.odd
    return Wiring(
        frozenset(one.route for one in routes.ours),
        neighbours=entries.neighbours,
        forwards=entries.forwards,
        devices=frozenset(ours),  # type: ignore[arg-type]
    )


def names_only(wiring: Wiring) -> Wiring:
    return replace(wiring, devices=frozenset(one.name for one in wiring.devices))  # type: ignore[arg-type]


def did_nothing(report: SyncReport) -> bool:
    return replace(report, standing=Standing()) == SyncReport()


def test_devices_of_both_families_stand_as_planned_and_a_second_sync_writes_nothing() -> None:
    wiring = merged(*map(peer, PEERS), devices=frozenset({DEVICE, SIX}))

    def piece(netlink: Rtnetlink) -> tuple[SyncReport, Wiring, SyncReport, int, set[Own]]:
        first = sync(wiring)
        indexes = {DEVICE.name: netlink.link(DEVICE.name).index}
        owns = held.entries(netlink, indexes).owns
        return first, read_back(netlink), sync(wiring, first.standing), netlink.rp_filters()[DEVICE.name], set(owns)

    first, found, second, rp_filter, owns = on_a_node(piece)
    assert found == names_only(wiring)
    assert first.problems == first.drift == ()
    assert did_nothing(second)
    assert rp_filter == 2
    assert owns == {Own(DEVICE.name, each) for each in DEVICE.addresses}


def test_ipv4_over_ipv6_goes_by_a_gateway_of_the_other_family() -> None:
    route = Route(ip_network("10.44.2.0/24"), LINK_LOCAL, SIX.name, True, ip_address("172.20.0.11"))
    forwards = frozenset({Forward(SIX.name, MAC, ip_address("fd00::12"))})
    neighbours = frozenset({Neighbour(SIX.name, LINK_LOCAL, MAC)})
    wiring = Wiring(frozenset({route}), (), frozenset({SIX}), neighbours, forwards)

    def piece(netlink: Rtnetlink) -> tuple[SyncReport, Wiring, SyncReport]:
        first = sync(wiring)
        return first, read_back(netlink), sync(wiring, first.standing)

    first, found, second = on_a_node(piece)
    assert first.problems == ()
    assert found == names_only(wiring)
    assert did_nothing(second)


def index(netlink: Rtnetlink) -> int:
    return netlink.link(DEVICE.name).index


def delete_neighbour(netlink: Rtnetlink) -> None:
    netlink.request("damage", DELNEIGH, no_neighbour(index(netlink), PEER))


def delete_forward(netlink: Rtnetlink) -> None:
    netlink.request("damage", DELNEIGH, no_forward(index(netlink), MAC))


def redirect(netlink: Rtnetlink) -> None:
    message = forward(index(netlink), MAC, ip_address("192.0.2.9"))
    netlink.request("damage", NEWNEIGH, message, CREATE | REPLACE)


def learn(netlink: Rtnetlink) -> None:
    (message,) = changed(DEVICE, index(netlink), frozenset({LEARNING}))
    netlink.request("damage", NEWLINK, message.replace(attribute(7, b"\0"), attribute(7, b"\1")))


def remake(netlink: Rtnetlink) -> None:
    netlink.delete_link(DEVICE.name)
    netlink.request("damage", NEWLINK, made(replace(DEVICE, vni=99)), CREATE | EXCL)


NAME, NEIGHBOUR = "device vallum.vxlan4", "neighbour 172.20.0.12 dev vallum.vxlan4"
DAMAGES: dict[str, tuple[Callable[[Rtnetlink], object], str]] = {
    "device deleted": (lambda it: it.delete_link(DEVICE.name), f"{NAME} was gone"),
    "device down": (lambda it: it.set_link(DEVICE.name, up=False), f"{NAME} had become down"),
    "another MTU": (lambda it: it.set_link(DEVICE.name, mtu=1300), f"{NAME} had become MTU 1300"),
    "another MAC": (
        lambda it: it.set_link(DEVICE.name, mac="02:00:00:00:00:99"),
        f"{NAME} had become MAC 02:00:00:00:00:99",
    ),
    "another VNI": (remake, f"{NAME} had become VNI 99"),
    "learning": (learn, f"{NAME} had become learning on"),
    "another filter": (lambda it: it.set_rp_filter(DEVICE.name, 0), f"{NAME} had become rp_filter 0"),
    "offload off": (
        lambda _: switch(DEVICE.name, Offload.TX_CHECKSUM, on=False),
        f"{NAME} had become checksum offload off",
    ),
    "address deleted": (
        lambda it: it.delete_address(DEVICE.name, DEVICE.addresses[0]),
        "address 10.44.1.0/32 dev vallum.vxlan4 was gone",
    ),
    "neighbour deleted": (delete_neighbour, f"{NEIGHBOUR} lladdr {MAC} was gone"),
    "neighbour changed": (
        lambda it: it.add_neighbour(DEVICE.name, PEER, "02:00:00:00:00:77"),
        f"{NEIGHBOUR} lladdr {MAC} had become {NEIGHBOUR} lladdr 02:00:00:00:00:77",
    ),
    "entry deleted": (delete_forward, f"fdb {MAC} dev {DEVICE.name} dst 172.20.0.12 was gone"),
    "entry changed": (
        redirect,
        f"fdb {MAC} dev {DEVICE.name} dst 172.20.0.12 had become fdb {MAC} dev {DEVICE.name} dst 192.0.2.9",
    ),
    "route deleted": (
        lambda it: it.delete_route(ip_network("10.44.12.0/24"), protocol=86),
        "10.44.12.0/24 via 172.20.0.12 dev vallum.vxlan4 src 10.44.1.0 mtu lock 1450 onlink was gone",
    ),
}


def test_every_damage_is_repaired_and_named_once() -> None:
    def piece(netlink: Rtnetlink) -> dict[str, tuple[tuple[str, ...], bool]]:
        standing, found = sync(WIRING).standing, {}
        for what, (damage, _) in DAMAGES.items():
            damage(netlink)
            report = sync(WIRING, standing)
            again = sync(WIRING, standing := report.standing)
            whole = read_back(netlink) == names_only(WIRING) and did_nothing(again)
            found[what] = (report.drift, whole)
        return found

    found = on_a_node(piece)
    assert {what: drift for what, (drift, _) in found.items()} == {
        what: (words,) for what, (_, words) in DAMAGES.items()
    }
    assert all(whole for _, whole in found.values()), found


def test_a_table_that_was_flushed_is_told_of_in_short() -> None:
    many = merged(*map(peer, range(12, 60)))

    def piece(netlink: Rtnetlink) -> tuple[str, ...]:
        standing = sync(many).standing
        for each in many.routes:
            netlink.delete_route(each.destination, protocol=86)
        return sync(many, standing).drift

    drift = on_a_node(piece)
    assert len(drift) == 9
    assert drift[-1].endswith(", and so 39 more")


def test_what_an_earlier_life_left_is_swept() -> None:
    def piece(netlink: Rtnetlink) -> tuple[Wiring, SyncReport, Wiring, list[str]]:
        sync(merged(*map(peer, PEERS), devices=frozenset({DEVICE, SIX})))
        netlink.add_bridge("vallum.odd", MAC)
        sync(merged(peer(12)))
        found = read_back(netlink)
        report = sync(Wiring())
        return found, report, read_back(netlink), [one.name for one in netlink.links()]

    found, report, nothing, links = on_a_node(piece)
    assert found == names_only(merged(peer(12)))
    assert (report.problems, nothing) == ((), Wiring())
    assert set(links) == {"lo", "up0", "up1"}
    assert "device vallum.vxlan4" in report.removed


def test_a_wish_that_alone_has_changed_is_sent_unread() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, Wiring, bool]:
        standing = sync(merged(peer(12), peer(13))).standing
        delete_neighbour(netlink)
        report = sync(merged(peer(12), peer(14)), standing, moved=False)
        return report, read_back(netlink), netlink.link("vallum.vxlan4").up

    report, found, _ = on_a_node(piece)
    assert set(report.added) == peer(14).routes | peer(14).neighbours | peer(14).forwards
    assert set(report.removed) == peer(13).routes | peer(13).neighbours | peer(13).forwards
    assert (report.drift, report.problems) == ((), ())
    wanted = names_only(merged(peer(12), peer(14)))
    assert found == replace(wanted, neighbours=peer(14).neighbours), "what it was told had not moved was not read"


def test_a_refusal_of_what_was_sent_unread_leads_to_reading() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, Wiring]:
        standing = sync(merged(peer(12))).standing
        netlink.delete_link(DEVICE.name)
        return sync(merged(peer(12), peer(13)), standing, moved=False), read_back(netlink)

    report, found = on_a_node(piece)
    assert found == names_only(merged(peer(12), peer(13)))
    assert report.drift == (f"{NAME} was gone",)


@pytest.mark.parametrize("moved", [True, False])
def test_a_route_in_the_way_is_found_whether_the_kernel_is_read_or_not(moved: bool) -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, list[int]]:
        netlink.add_route(Route(ip_network("10.44.13.0/24"), PEER), protocol=3)
        standing = sync(merged(peer(12))).standing
        report = sync(merged(peer(12), peer(13)), standing, moved=moved)
        same = [one.protocol for one in netlink.routes() if one.route.destination == ip_network("10.44.13.0/24")]
        return report, same

    report, same = on_a_node(piece)
    assert same == [3]
    assert [problem.subject.partition(" ")[0] for problem in report.problems] == ["10.44.13.0/24"]


def test_a_device_of_another_program_in_the_way_is_named_and_left_and_all_stands_once_it_is_gone() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, bool, SyncReport, Wiring]:
        theirs = made(replace(DEVICE, name="flannel.1"))
        netlink.request("theirs", NEWLINK, theirs, CREATE | EXCL)
        first = sync(WIRING)
        left = netlink.link("flannel.1").up
        netlink.delete_link("flannel.1")
        return first, left, sync(WIRING, first.standing), read_back(netlink)

    first, left, second, found = on_a_node(piece)
    (problem,) = first.problems
    assert "flannel.1 of another program has VNI 86 on port 8472" in problem.text
    assert left
    assert not first.standing.whole
    assert (second.problems, second.drift) == ((), ())
    assert found == names_only(WIRING)


def test_a_route_by_a_link_that_is_not_there_is_a_problem_of_its_own() -> None:
    lost = Route(ip_network("10.44.99.0/24"), PEER, "eth9")

    def piece(netlink: Rtnetlink) -> tuple[SyncReport, Wiring]:
        return sync(replace(WIRING, routes=WIRING.routes | {lost})), read_back(netlink)

    report, found = on_a_node(piece)
    assert [(each.subject, each.text) for each in report.problems] == [
        ("10.44.99.0/24 via 172.20.0.12 dev eth9", "there is no device eth9")
    ]
    assert found == names_only(WIRING)
    assert not report.standing.stood(lost)


@pytest.mark.parametrize("as_nobody", [False, True])
def test_checksums_are_left_to_the_link_or_not_as_planned(as_nobody: bool) -> None:
    def piece(_: Rtnetlink) -> list[bool]:
        found, standing = [], Standing()
        for checksum in (False, True, False):
            standing = sync(Wiring(devices=frozenset({replace(DEVICE, checksum=checksum)})), standing).standing
            found.append(is_on(DEVICE.name, Offload.TX_CHECKSUM))
        return found

    assert on_a_node(piece, as_nobody=as_nobody) == [False, True, False]


def test_a_range_that_changes_its_road_is_never_without_a_route() -> None:
    destination = ip_network("10.44.12.0/24")
    plain = Wiring(frozenset({Route(destination, PEER)}))

    def piece(_: Rtnetlink) -> list[tuple[int, str | None]]:
        before = sync(plain).standing
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as watch:
            watch.bind((0, 1 << 6))  # RTMGRP_IPV4_ROUTE
            watch.setblocking(False)
            standing = sync(merged(peer(12)), before).standing
            sync(plain, standing)
            told = []
            while True:
                try:
                    packet = watch.recv(1 << 16)
                except BlockingIOError:
                    break
                told += [(kind, read_route(data)) for kind, _, data in messages(packet)]
        return [(kind, str(route.gateway)) for kind, route in told if route.destination == destination]

    assert on_a_node(piece) == [(24, "172.20.0.12"), (24, "172.20.0.12")]


def test_by_whatever_way_the_kernel_ends_with_what_is_wished() -> None:
    """Random wishes, read or unread, with damage between: after each sync the kernel holds the wish and no more."""
    seed = Random().randrange(10**9)

    def piece(netlink: Rtnetlink) -> list[str]:
        rng, standing, wrong = Random(seed), Standing(), []
        for turn in range(60):
            moved = rng.random() < 0.5
            if moved and rng.random() < 0.5:
                damage(netlink, rng)
            wiring = wish(rng)
            report = sync(wiring, standing, moved=moved)
            standing = report.standing
            if report.problems or read_back(netlink) != names_only(wiring):
                wrong.append(f"turn {turn}: {report.problems} {read_back(netlink)} is not {wiring}")
        return wrong

    assert on_a_node(piece) == [], f"seed {seed}"


def wish(rng: Random) -> Wiring:
    if rng.random() < 0.1:
        return Wiring()
    parts = [peer(number) for number in rng.sample(PEERS, rng.randrange(len(PEERS)))]
    plain = Wiring(frozenset({Route(ip_network(f"10.44.{number}.0/24"), PEER, "up0") for number in (30, 31)}))
    devices = frozenset({replace(DEVICE, mtu=rng.choice((1400, 1450)), vni=rng.choice((86, 86, 86, 87)))})
    return merged(*parts, *([plain] if rng.random() < 0.5 else []), devices=devices)


def damage(netlink: Rtnetlink, rng: Random) -> None:
    harm, _ = rng.choice(list(DAMAGES.values()))
    try:
        harm(netlink)
    except (KernelError, OSError):
        return  # what it would harm is not wished just now


def test_the_kernels_own_ipip_is_made_where_there_is_one() -> None:
    device = Ipip("vallum.ipip", "kernel", 1480, ip_address("172.20.0.11"), (ip_interface("10.44.1.0/32"),))
    route = Route(ip_network("10.44.2.0/24"), PEER, device.name, True, ip_address("10.44.1.0"))
    wiring = Wiring(frozenset({route}), devices=frozenset({device}))

    def piece(netlink: Rtnetlink) -> tuple[SyncReport, SyncReport, Wiring] | None:
        try:
            netlink.request("try", NEWLINK, made(replace(device, name="vallum.trial")), CREATE | EXCL)
        except RequestError:
            return None
        netlink.delete_link("vallum.trial")
        first = sync(wiring)
        return first, sync(wiring, first.standing), read_back(netlink)

    tried = on_a_node(piece)
    if tried is None:
        pytest.skip("this kernel has no ipip (CONFIG_NET_IPIP)")
    first, second, found = tried
    assert first.problems == ()
    assert did_nothing(second)
    assert found == names_only(wiring)
