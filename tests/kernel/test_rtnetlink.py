"""What is written over rtnetlink is what the kernel holds and what is read back."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest

from inside import run_inside
from vallum.kernel import netns, sysctl
from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import HeldRoute, Link, Rtnetlink
from vallum.model.address import Packed, parse
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets

Result = TypeVar("Result")
MAC, PEER_MAC = "02:00:00:00:00:01", "06:00:00:00:00:01"


def with_veth(piece: Callable[[Rtnetlink], Result]) -> Result:
    """`piece` with a veth `vl0` whose other end, up, is `eth0` of the namespace `pod`."""

    def wired() -> Result:
        netns.create("pod")
        peer = netns.open_namespace("pod")
        with Rtnetlink() as netlink:
            netlink.add_veth("vl0", "eth0", peer_namespace=peer, mac=MAC, peer_mac=PEER_MAC, mtu=1400)
            with netns.entered("pod"), Rtnetlink() as inner:
                inner.set_link("eth0", up=True)
            return piece(netlink)

    return run_inside(wired)


def test_a_veth_has_its_peer_born_in_the_other_namespace() -> None:
    def piece(_: Rtnetlink) -> Link:
        with netns.entered("pod"), Rtnetlink() as inner:
            return inner.link("eth0")

    link = with_veth(piece)
    assert (link.name, link.mac, link.up) == ("eth0", PEER_MAC, True)


def test_a_link_is_renamed_and_set_down() -> None:
    def piece(netlink: Rtnetlink) -> tuple[str, bool]:
        netlink.set_link("vl0", up=False)
        netlink.set_link("vl0", rename="vl1", mac="02:00:00:00:00:09", mtu=1300)
        link = netlink.link("vl1")
        return link.mac, link.up

    assert with_veth(piece) == ("02:00:00:00:00:09", False)


def test_addresses_of_both_families_come_and_go() -> None:
    def piece(netlink: Rtnetlink) -> list[frozenset[int]]:
        found = []
        for text in ("172.20.0.1/24", "fd00::1/64"):
            netlink.add_address("vl0", ip_interface(text))
            found.append(netlink.local_addresses())
        netlink.delete_address("vl0", ip_interface("fd00::1/64"))
        return [*found, netlink.local_addresses()]

    v4, both, again = with_veth(piece)
    assert parse("172.20.0.1") in v4
    assert both - v4 >= {parse("fd00::1")}
    assert again == both - {parse("fd00::1")}
    assert parse("127.0.0.1") not in both
    assert parse("::1") not in both


def test_routes_are_read_as_they_were_written() -> None:
    routes = {
        Route(ip_network("10.44.1.2/32"), None, "vl0"),
        Route(ip_network("fd44::2/128"), None, "vl0"),
        Route(ip_network("10.44.2.0/24"), ip_address("172.20.0.2"), "vl0"),
        Route(ip_network("fd44:0:0:2::/64"), ip_address("fd00::2"), "vl0"),
        Route(ip_network("0.0.0.0/0"), ip_address("172.20.0.9"), "vl0"),
        Route(ip_network("::/0"), ip_address("fd00::9"), "vl0"),
    }

    def piece(netlink: Rtnetlink) -> tuple[HeldRoute, ...]:
        netlink.add_address("vl0", ip_interface("172.20.0.1/24"))
        netlink.add_address("vl0", ip_interface("fd00::1/64"))
        for route in routes:
            netlink.add_route(route, protocol=86)
        return netlink.routes()

    held = with_veth(piece)
    assert {one.route for one in held if one.protocol == 86} == routes
    assert {one.metric for one in held if one.protocol == 86} == {0, 1024}


def test_host_routes_lead_to_the_interface_of_a_pod() -> None:
    def piece(netlink: Rtnetlink) -> dict[Packed, str]:
        netlink.add_route(Route(ip_network("10.44.1.2/32"), None, "vl0"))
        netlink.add_route(Route(ip_network("fd44::2/128"), None, "vl0"))
        netlink.add_route(Route(ip_network("10.44.2.0/24"), None, "vl0"))
        return netlink.host_routes()

    assert with_veth(piece) == {parse("10.44.1.2"): "vl0", parse("fd44::2"): "vl0"}


def test_a_replaced_and_a_deleted_route_are_gone() -> None:
    def piece(netlink: Rtnetlink) -> list[Route]:
        netlink.add_address("vl0", ip_interface("172.20.0.1/24"))
        for route in ("10.1.0.0/24", "10.2.0.0/24"):
            netlink.add_route(Route(ip_network(route), ip_address("172.20.0.2")), protocol=86)
        netlink.replace_route(Route(ip_network("10.1.0.0/24"), ip_address("172.20.0.3")), protocol=86)
        netlink.delete_route(ip_network("10.2.0.0/24"), protocol=86)
        return [one.route for one in netlink.routes() if one.protocol == 86]

    assert with_veth(piece) == [Route(ip_network("10.1.0.0/24"), ip_address("172.20.0.3"), "vl0")]


def test_a_route_of_another_protocol_is_not_deleted() -> None:
    def piece(netlink: Rtnetlink) -> int:
        netlink.add_route(Route(ip_network("10.1.0.0/24"), None, "vl0"), protocol=4)
        with pytest.raises(RequestError):
            netlink.delete_route(ip_network("10.1.0.0/24"), protocol=86)
        return len([one for one in netlink.routes() if one.protocol == 4])

    assert with_veth(piece) == 1


def test_the_kernels_reason_is_in_the_error() -> None:
    def piece(netlink: Rtnetlink) -> list[str]:
        with pytest.raises(RequestError) as absent:
            netlink.delete_link("none")
        with pytest.raises(RequestError) as unreachable:
            netlink.add_route(Route(ip_network("10.9.0.0/24"), ip_address("10.99.0.1")))
        return [str(absent.value), str(unreachable.value)]

    assert with_veth(piece) == [
        "delete link none: No such device",
        "add route 10.9.0.0/24 via 10.99.0.1: Nexthop has invalid gateway",
    ]


@pytest.mark.parametrize("value", [0, 1, 2])
def test_the_reverse_path_filter_is_set_without_sysctl_and_read_back(value: int) -> None:
    def piece(netlink: Rtnetlink) -> tuple[int, str]:
        netlink.set_rp_filter("vl0", value)
        return netlink.rp_filters()["vl0"], sysctl.read("net/ipv4/conf/vl0/rp_filter")

    assert with_veth(piece) == (value, str(value))


def test_it_works_in_a_thread_that_runs_an_event_loop() -> None:
    async def ask() -> list[str]:
        with Rtnetlink() as netlink:
            return [link.name for link in netlink.links()]

    assert run_inside(lambda: asyncio.run(ask())) == ["lo"]


def test_a_long_table_is_read_whole() -> None:
    def piece(netlink: Rtnetlink) -> int:
        for number in range(600):
            netlink.add_route(Route(ip_network((0x0A010000 + 256 * number, 24)), None, "vl0"), protocol=86)
        return len([one for one in netlink.routes() if one.protocol == 86])

    assert with_veth(piece) == 600
