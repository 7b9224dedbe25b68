"""Which sizes get through is found to the byte, in both families, and who may not ask is told."""

import subprocess
import sys
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from inside import run_inside
from vallum.kernel import forwarding, netns, sysctl
from vallum.kernel.echo import Target, answered, is_refused, largest
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.survey import survey, ways_back
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets
NEAR, FAR = ("10.1.0.2", "fd01::2"), ("10.2.0.2", "fd02::2")
NOBODY = ("10.2.0.77", "fd02::77")
NARROW = 1300


def behind_a_router() -> None:
    """Here is the router, between a near host, in which the test works from now on, and a far one."""
    for family in (4, 6):
        forwarding.ensure(family)
    for name, index, mtu in (("near", 1, 1500), ("far", 2, NARROW)):
        netns.create(f"vallum-{name}")
        there = netns.open_namespace(f"vallum-{name}")
        own, others = (f"10.{index}.0.1/24", f"fd0{index}::1/64"), (f"10.{index}.0.2/24", f"fd0{index}::2/64")
        with Rtnetlink() as links:
            macs = {"mac": f"02:00:00:00:0{index}:01", "peer_mac": f"02:00:00:00:0{index}:02"}
            links.add_veth(name, "eth0", peer_namespace=there, mtu=1500, **macs)
            links.set_link(name, mtu=mtu)
            for address in own:
                links.add_address(name, ip_interface(address))
        with netns.entered(there), Rtnetlink() as links:
            links.set_link("eth0", up=True)
            for address, router, everywhere in zip(others, own, ("0.0.0.0/0", "::/0"), strict=True):
                links.add_address("eth0", ip_interface(address))
                links.add_route(Route(ip_network(everywhere), ip_interface(router).ip))


def targets(*addresses: str, size: int = 1500) -> list[Target]:
    return [Target(ip_address(each), size) for each in addresses]


def test_the_largest_packet_is_found_to_the_byte() -> None:
    def piece() -> tuple[int | None, ...]:
        behind_a_router()
        with netns.entered("vallum-near"):
            return largest([*targets("10.1.0.1", "fd01::1", *FAR, *NOBODY), *targets("10.1.0.1", size=1501)])

    assert run_inside(piece) == (1500, 1500, NARROW, NARROW, None, None, 1500)


def test_what_nobody_listens_on_is_refused_and_silence_is_not() -> None:
    def piece() -> tuple[bool, bool]:
        behind_a_router()
        with netns.entered("vallum-near"):
            return is_refused(ip_address(FAR[0]), 8472), is_refused(ip_address(NOBODY[0]), 8472)

    assert run_inside(piece) == (True, False)


_ASK = """
import sys
from ipaddress import ip_address
from vallum.kernel.echo import NoEchoError, Target, largest
try:
    print(largest([Target(ip_address(each), 1500) for each in sys.argv[1:]]))
except NoEchoError as error:
    print(error)
"""


def test_without_the_right_to_raw_sockets_the_group_of_ping_is_enough() -> None:
    def asked() -> str:
        words = [
            "setpriv",
            "--bounding-set=-net_raw",
            "--inh-caps=-net_raw",
            sys.executable,
            "-c",
            _ASK,
            "10.1.0.1",
            *FAR,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        return done.stdout.strip() or done.stderr

    def piece() -> tuple[str, str]:
        behind_a_router()
        with netns.entered("vallum-near"):
            sysctl.write("net/ipv4/ping_group_range", "1 0")
            refused = asked()
            sysctl.write("net/ipv4/ping_group_range", "0 0")
            return refused, asked()

    refused, permitted = run_inside(piece)
    assert refused.startswith("no ICMP socket: it takes CAP_NET_RAW, or a group within net.ipv4.ping_group_range")
    assert permitted == f"(1500, {NARROW}, {NARROW})"


def test_many_are_asked_at_once() -> None:
    def piece() -> int:
        return len(answered(targets(*(f"127.0.{high}.{low}" for high in range(4) for low in range(1, 251))), 5.0))

    assert run_inside(piece) == 1000


def test_a_survey_tells_routes_filters_and_what_is_not_forwarded() -> None:
    def piece() -> list[object]:
        behind_a_router()
        with netns.entered("vallum-near"), Rtnetlink() as links:
            links.add_unreachable(ip_network("10.9.0.0/24"))
            sysctl.write("net/ipv4/conf/eth0/rp_filter", 1)
            off = survey()
            forwarding.ensure(4)
            sysctl.write("net/ipv4/conf/eth0/forwarding", 0)
            sysctl.write("net/ipv4/conf/all/rp_filter", 2)
            one = survey()
            back = ways_back(map(ip_address, (FAR[0], "10.1.0.2", "10.9.0.1")))
        rejecting = [route.destination for route in off.routes if route.device is None]
        strict = [each.strict - {"lo"} for each in (off, one)]
        return [rejecting, strict, off.closed, one.closed[4], one.tracked[1] > 0, back]

    assert run_inside(piece) == [
        [ip_network("10.9.0.0/24")],
        [frozenset({"eth0"}), frozenset()],
        {4: frozenset({"all"}), 6: frozenset({"all"})},
        frozenset({"eth0"}),
        True,
        {ip_address(FAR[0]): "eth0"},
    ]
