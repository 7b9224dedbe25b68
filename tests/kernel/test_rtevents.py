"""Changes of the network are told by kind; a full buffer is doubt, and the watch goes on."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from inside import eventually, run_inside
from vallum.kernel import sysctl
from vallum.kernel.netlink import CREATE
from vallum.kernel.rtevents import Change, RouteWatch
from vallum.kernel.rtmessages import NEWNEIGH, forward, neighbour
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.model.wiring import Route, Vxlan, Wiring

pytestmark = pytest.mark.packets
MAC, FAR = "02:00:00:00:00:09", ip_address("192.0.2.9")
HERE = Route(ip_network("10.9.0.0/24"), None, "lo")


def tunnels(*vnis: int) -> Wiring:
    devices = (Vxlan(f"vallum.{vni}", vni, 8472, MAC, 1450, ip_address("192.0.2.1")) for vni in vnis)
    return Wiring(devices=frozenset(devices))


def test_each_kind_of_change_is_told() -> None:
    def piece() -> list[frozenset[Change]]:
        with Rtnetlink() as netlink, RouteWatch() as watch:
            found = [watch.read()]
            netlink.add_route(HERE)
            found.append(watch.read())
            sysctl.write("net/ipv4/conf/lo/rp_filter", 2)
            found.append(watch.read())
            netlink.add_address("lo", ip_interface("10.1.1.1/32"))
            found.append(watch.read())
            netlink.set_link("lo", up=False)
            found.append(watch.read())
            return found

    quiet, route, setting, address, link = run_inside(piece)
    assert quiet == frozenset()
    assert route == {Change.ROUTES}
    assert Change.SETTINGS in setting
    assert Change.ADDRESSES in address
    assert Change.LINKS in link


def test_what_comes_and_goes_with_a_single_pod_is_told_apart() -> None:
    """A veth, up, with a route to its pod's addresses, an rp_filter and what the kernel adds itself; and gone again."""

    def piece() -> list[frozenset[Change]]:
        with Rtnetlink() as netlink, RouteWatch() as watch:
            netlink.add_veth("vl0", "vl1", mac=MAC, peer_mac="02:00:00:00:00:0a", mtu=1500)
            netlink.set_link("vl1", up=True)
            netlink.add_route(Route(ip_network("10.44.1.7/32"), None, "vl0"))
            netlink.add_route(Route(ip_network("fd44::7/128"), None, "vl0"))
            netlink.set_rp_filter("vl0", 1)
            found = [told_until(watch, lambda: "link-local" in addresses(netlink))]
            netlink.delete_link("vl0")
            return [*found, watch.read()]

    assert run_inside(piece) == [frozenset({Change.PODS})] * 2


def test_a_link_that_leads_on_is_no_pods_whatever_happens_to_it() -> None:
    """Known from its routes: those that were there before, and one that came since."""

    def piece() -> list[frozenset[Change]]:
        with Rtnetlink() as netlink:
            for name, peer in (("up0", "up1"), ("up2", "up3")):
                netlink.add_veth(name, peer, mac=MAC, peer_mac="02:00:00:00:00:0a", mtu=1500)
            netlink.add_address("up0", ip_interface("172.20.0.11/24"))
            with RouteWatch() as watch:
                watch.read()
                netlink.set_link("up0", mtu=1400)
                found = [watch.read()]
                netlink.add_route(Route(ip_network("172.21.0.12/32"), None, "up0"))
                found.append(watch.read())
                netlink.set_link("up2", mtu=1400)
                found.append(watch.read())
                netlink.add_route(Route(ip_network("172.22.0.0/24"), None, "up2"))
                netlink.set_link("up2", mtu=1450)
                return [*found, watch.read()]

    links, route, other, later = run_inside(piece)
    assert Change.LINKS in links
    assert Change.ROUTES in route
    assert other == {Change.PODS}
    assert later >= {Change.ROUTES, Change.LINKS}


def test_a_route_of_ours_is_never_a_pods() -> None:
    def piece() -> frozenset[Change]:
        with Rtnetlink() as netlink:
            netlink.add_veth("vl0", "vl1", mac=MAC, peer_mac="02:00:00:00:00:0a", mtu=1500)
            with RouteWatch() as watch:
                watch.read()
                netlink.add_route(Route(ip_network("10.44.2.7/32"), None, "vl0"), protocol=86)
                return watch.read()

    assert Change.ROUTES in run_inside(piece)


def addresses(netlink: Rtnetlink) -> set[str]:
    return {"link-local" for each in netlink.addresses("vl0") if each.is_link_local}


def told_until(watch: RouteWatch, done: Callable[[], bool]) -> frozenset[Change]:
    """What is told until it is done, at the latest in five seconds."""
    found: set[Change] = set()
    assert eventually(lambda: bool(found.update(watch.read())) or done())
    return frozenset(found | watch.read())


def test_entries_of_our_tunnel_devices_are_told_and_those_of_others_are_not() -> None:
    """Those of a device that was there before, of one that came later, and no more of one that went."""

    def piece() -> list[frozenset[Change]]:
        sync(tunnels(86))
        with Rtnetlink() as netlink, RouteWatch() as watch:
            standing = sync(tunnels(86, 87)).standing
            watch.read()
            found = []
            for device in ("lo", "vallum.86", "vallum.87"):
                netlink.add_neighbour(device, ip_address("10.9.0.9"), MAC)
                found.append(watch.read())
            netlink.request("learn", NEWNEIGH, forward(netlink.link("vallum.86").index, MAC, FAR), CREATE)
            found.append(watch.read())
            sync(tunnels(86), standing)
            watch.read()
            netlink.add_neighbour("vallum.86", ip_address("10.9.0.10"), MAC)
            return [*found, watch.read()]

    other, first, later, entry, again = run_inside(piece)
    assert other == frozenset()
    assert first == later == entry == again == {Change.ENTRIES}


def test_a_flood_of_neighbours_on_other_links_is_neither_told_nor_doubt() -> None:
    def piece() -> frozenset[Change]:
        with Rtnetlink() as netlink, RouteWatch() as watch:
            index = netlink.link("lo").index
            entries = [neighbour(index, ip_address((10 << 24) + number), MAC) for number in range(3000)]
            netlink.many([(NEWNEIGH, entry, CREATE) for entry in entries])
            return watch.read()

    assert run_inside(piece) == frozenset()


def test_as_many_devices_as_there_may_be_are_heard() -> None:
    """More than a filter can list: then it lets everything pass."""

    def piece() -> list[bool]:
        sync(tunnels(*range(100, 170)))
        found = []
        with Rtnetlink() as netlink, RouteWatch() as watch:
            watch.read()
            for device in ("vallum.100", "vallum.169"):
                netlink.add_neighbour(device, ip_address("10.9.0.9"), MAC)
                found.append(watch.read() == {Change.ENTRIES})
        return found

    assert run_inside(piece) == [True, True]


def test_a_full_buffer_is_doubt_and_later_changes_are_told() -> None:
    def piece() -> tuple[frozenset[Change], frozenset[Change]]:
        with Rtnetlink() as netlink, RouteWatch() as watch:
            for _ in range(1500):
                netlink.add_route(HERE)
                netlink.delete_route(HERE.destination, protocol=4)
            full = watch.read()
            netlink.add_route(HERE)
            return full, watch.read()

    full, after = run_inside(piece)
    assert Change.DOUBT in full
    assert after == {Change.ROUTES}


def test_an_event_loop_is_woken() -> None:
    async def woken() -> frozenset[Change]:
        told = asyncio.get_running_loop().create_future()
        with Rtnetlink() as netlink, RouteWatch() as watch:
            asyncio.get_running_loop().add_reader(watch, lambda: told.set_result(watch.read()))
            netlink.add_route(HERE)
            found: frozenset[Change] = await asyncio.wait_for(told, 5)
            asyncio.get_running_loop().remove_reader(watch)
            return found

    assert run_inside(lambda: asyncio.run(woken())) == {Change.ROUTES}
