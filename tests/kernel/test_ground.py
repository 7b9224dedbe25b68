"""The ground is what the kernel itself would do, and our own tunnels are no part of it."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest

from inside import run_inside
from vallum.kernel.ground import look
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.model.address import Address
from vallum.model.ground import Ground, Hop
from vallum.model.wiring import Route, Vxlan, Wiring

pytestmark = pytest.mark.packets

Result = TypeVar("Result")
OWN4, OWN6 = ip_address("172.20.0.11"), ip_address("fd00::11")
ROUTER4 = ip_address("172.20.0.1")
DEVICE = Vxlan("vallum.vxlan4", 86, 8472, "02:00:00:00:00:01", 1450, OWN4)


def looked(*addresses: str, routes: tuple[Route, ...] = (), devices: tuple[Vxlan, ...] = ()) -> Ground:
    """The ground on a node with one link, of MTU 1500, and these routes and devices."""

    def piece() -> Ground:
        with Rtnetlink() as netlink:
            netlink.add_veth("up0", "up1", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1500)
            netlink.set_link("up1", up=True)
            netlink.add_address("up0", ip_interface("172.20.0.11/24"))
            netlink.add_address("up0", ip_interface("fd00::11/64"))
            sync(Wiring(devices=frozenset(devices)))
            for route in routes:
                netlink.add_route(route)
            return look(map(ip_address, addresses))

    return run_inside(piece)


def hop(source: Address, gateway: Address | None = None, mtu: int = 1500) -> Hop:
    return Hop("up0", gateway, source, mtu)


def test_a_peer_is_on_the_link_or_behind_a_gateway() -> None:
    default = Route(ip_network("0.0.0.0/0"), ROUTER4)
    found = looked("172.20.0.12", "fd00::12", "10.9.9.9", routes=(default,))
    assert found.hops == {
        ip_address("172.20.0.12"): hop(OWN4),
        ip_address("fd00::12"): hop(OWN6),
        ip_address("10.9.9.9"): hop(OWN4, ROUTER4),
    }


def test_where_no_route_leads_there_is_no_hop_and_to_oneself_neither() -> None:
    assert looked("10.9.9.9", "fd99::1", "172.20.0.11", "127.0.0.1").hops == {}


def test_a_narrower_route_bounds_the_mtu() -> None:
    narrow = Route(ip_network("10.9.0.0/16"), ROUTER4, mtu=1400)
    found = looked("172.20.0.12", "10.9.9.9", routes=(narrow,))
    assert found.hops[ip_address("10.9.9.9")] == hop(OWN4, ROUTER4, 1400)
    assert found.mtu == 1400


def test_the_way_through_a_tunnel_of_ours_is_none() -> None:
    tunnelled = Route(ip_network("10.9.0.0/16"), None, DEVICE.name)
    assert looked("10.9.9.9", routes=(tunnelled,), devices=(DEVICE,)).hops == {}


def test_a_node_without_peers_has_the_mtu_of_the_way_out() -> None:
    assert looked(routes=(Route(ip_network("0.0.0.0/0"), ROUTER4, mtu=1300),)).mtu == 1300
    assert looked() == Ground(mtu=1500)


@pytest.mark.parametrize("family", [IPv4Address, IPv6Address])
def test_a_thousand_are_asked_for_together(family: type[Address]) -> None:
    first = int(ip_address("172.20.1.0") if family is IPv4Address else ip_address("fd00::12"))
    wide = Route(ip_network("172.16.0.0/12"), None, "up0")
    addresses = [family(first + number) for number in range(1000)]
    found = looked(*map(str, addresses), routes=(wide,))
    assert len(found.hops) == 1000
    assert {each.gateway for each in found.hops.values()} == {None}
