"""Changes of the network are told by kind; a full buffer is doubt, and the watch goes on."""

import asyncio
from ipaddress import ip_interface, ip_network

import pytest

from inside import run_inside
from vallum.kernel import sysctl
from vallum.kernel.rtevents import Change, RouteWatch
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets
HERE = Route(ip_network("10.9.0.0/24"), None, "lo")


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
