"""What is written over rtnetlink is what the kernel holds and what is read back."""

import asyncio
import socket
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


def test_a_socket_that_was_made_inside_works_there_from_outside() -> None:
    def piece(_: Rtnetlink) -> tuple[list[str], list[str]]:
        with netns.entered("pod"):
            handed = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with Rtnetlink(handed) as inside, Rtnetlink() as host:
            return [sorted(link.name for link in each.links()) for each in (inside, host)]

    assert with_veth(piece) == [["eth0", "lo"], ["lo", "vl0"]]


def test_mtu_alias_and_the_other_end_of_a_veth_are_read_back() -> None:
    def piece(netlink: Rtnetlink) -> tuple[Link, Link]:
        netlink.set_link("vl0", alias="a word or two, ünd so weiter")
        with netns.entered("pod"), Rtnetlink() as inner:
            return netlink.link("vl0"), inner.link("eth0")

    outer, inner = with_veth(piece)
    assert (outer.mtu, outer.alias) == (1400, "a word or two, ünd so weiter")
    assert (outer.peer, inner.peer) == (inner.index, outer.index)


def test_addresses_neighbours_and_routes_are_read_of_one_interface_alone() -> None:
    def piece(netlink: Rtnetlink) -> list[object]:
        netlink.add_bridge("other", "02:00:00:00:00:0f")
        for device, last in (("vl0", 1), ("other", 2)):
            netlink.add_address(device, ip_interface(f"10.9.{last}.1/24"))
            netlink.add_neighbour(device, ip_address(f"10.9.{last}.9"), MAC)
            netlink.add_neighbour(device, ip_address(f"fd00::{last}"), MAC)
            netlink.add_route(Route(ip_network(f"10.{last}.0.0/16"), None, device))
        global_ones = {each for each in netlink.addresses("vl0") if not each.is_link_local}
        return [global_ones, netlink.neighbours("vl0"), {held.route for held in netlink.routes("vl0")}]

    addresses, neighbours, routes = with_veth(piece)
    assert addresses == {ip_interface("10.9.1.1/24")}
    assert neighbours == {ip_address("10.9.1.9"): MAC, ip_address("fd00::1"): MAC}
    assert isinstance(routes, set)
    assert Route(ip_network("10.1.0.0/16"), None, "vl0") in routes
    assert {route.device for route in routes} == {"vl0"}


def test_the_way_to_an_address_is_the_kernels_own_choice() -> None:
    def piece(netlink: Rtnetlink) -> tuple[str, str]:
        netlink.add_route(Route(ip_network("192.0.2.0/24"), None, "vl0"))
        with pytest.raises(RequestError) as nowhere:
            netlink.link_to(ip_address("2001:db8::1"))
        return netlink.link_to(ip_address("192.0.2.1")).name, str(nowhere.value)

    assert with_veth(piece) == ("vl0", "look up the route to 2001:db8::1: Network is unreachable")
