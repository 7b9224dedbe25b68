"""Routes, devices and what is on them become what was planned by the smallest difference, drift is named, and nothing
of others is touched.
"""

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from select import select
from typing import TypeVar

import pytest

from inside import run_inside
from vallum.kernel.rtevents import RouteWatch
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import SyncReport, sync
from vallum.model.wiring import ROUTE_PROTOCOL, Problem, Route, Wiring

pytestmark = pytest.mark.packets

Result = TypeVar("Result")


def route(destination: str, gateway: str) -> Route:
    return Route(ip_network(destination), ip_address(gateway))


V4, V6 = route("10.44.2.0/24", "172.20.0.12"), route("fd44:0:0:2::/64", "fd00::12")
OTHER = route("10.44.3.0/24", "172.20.0.13")
FAR = route("10.44.9.0/24", "192.0.2.1")
FAR6 = route("fd44:0:0:9::/64", "2001:db8::1")
WIRING = Wiring(frozenset({V4, V6}))


def on_a_node(piece: Callable[[Rtnetlink], Result]) -> Result:
    """`piece` where a link reaches 172.20.0.0/24 and fd00::/64, and a default route all the rest."""

    def linked() -> Result:
        with Rtnetlink() as netlink:
            netlink.add_veth("up0", "up1", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1500)
            netlink.set_link("up1", up=True)
            netlink.add_address("up0", ip_interface("172.20.0.11/24"))
            netlink.add_address("up0", ip_interface("fd00::11/64"))
            netlink.add_route(route("0.0.0.0/0", "172.20.0.1"))
            netlink.add_route(route("::/0", "fd00::1"))
            return piece(netlink)

    return run_inside(linked)


def ours(netlink: Rtnetlink) -> set[tuple[str, str]]:
    mine = (one.route for one in netlink.routes() if one.protocol == ROUTE_PROTOCOL)
    return {(str(one.destination), str(one.gateway)) for one in mine}


def test_planned_routes_are_in_the_kernel_and_a_second_sync_writes_nothing() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, set[tuple[str, str]], SyncReport, bool]:
        first = sync(WIRING)
        with RouteWatch() as watch:
            while select([watch], [], [], 0.2)[0]:  # what the first sync and new links still cause
                watch.read()
            second = sync(WIRING, first.standing)
            return first, ours(netlink), second, bool(watch.read())

    first, found, second, told = on_a_node(piece)
    assert set(first.added) == {V4, V6}
    assert found == {("10.44.2.0/24", "172.20.0.12"), ("fd44:0:0:2::/64", "fd00::12")}
    assert second == SyncReport(first.standing)
    assert not told


def test_drift_is_repaired_and_named_in_both_families() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, set[tuple[str, str]]]:
        before = sync(WIRING).standing
        netlink.delete_route(V4.destination, protocol=ROUTE_PROTOCOL)
        netlink.replace_route(route("fd44:0:0:2::/64", "fd00::99"), protocol=ROUTE_PROTOCOL)
        return sync(WIRING, before), ours(netlink)

    report, found = on_a_node(piece)
    assert found == {("10.44.2.0/24", "172.20.0.12"), ("fd44:0:0:2::/64", "fd00::12")}
    assert list(report.drift) == [
        "10.44.2.0/24 via 172.20.0.12 was gone",
        "fd44:0:0:2::/64 via fd00::12 had become fd44:0:0:2::/64 via fd00::99 dev up0",
    ]


def test_only_ours_are_removed() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, set[tuple[str, str]], set[tuple[str, str]]]:
        netlink.add_route(OTHER, protocol=3)
        sync(WIRING)
        report = sync(Wiring())
        others = {(str(one.route.destination), str(one.protocol)) for one in netlink.routes()}
        return report, ours(netlink), others

    report, mine, others = on_a_node(piece)
    assert {one.destination for one in report.removed} == {V4.destination, V6.destination}
    assert mine == set()
    assert ("10.44.3.0/24", "3") in others


def test_another_program_s_route_to_the_same_place_is_left_and_reported() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, list[tuple[str, int]]]:
        theirs = route("fd44:0:0:2::/64", "fd00::7")
        netlink.add_route(theirs, protocol=3)
        report = sync(WIRING)
        same = [one for one in netlink.routes() if one.route.destination == theirs.destination]
        return report, [(str(one.route.gateway), one.protocol) for one in same]

    report, found = on_a_node(piece)
    assert found == [("fd00::7", 3)]
    assert [problem.subject for problem in report.problems] == ["fd44:0:0:2::/64 via fd00::12"]
    assert report.standing.stood(V4)
    assert not report.standing.stood(V6)


def test_a_gateway_that_no_link_reaches_is_a_problem_and_the_others_go_in() -> None:
    def piece(netlink: Rtnetlink) -> tuple[SyncReport, set[tuple[str, str]]]:
        return sync(Wiring(frozenset({V4, FAR, FAR6}), (Problem("node x", "passed on"),))), ours(netlink)

    report, found = on_a_node(piece)
    assert found == {("10.44.2.0/24", "172.20.0.12")}
    assert report.problems == (
        Problem("node x", "passed on"),
        Problem("10.44.9.0/24 via 192.0.2.1", "add route 10.44.9.0/24 via 192.0.2.1: Nexthop has invalid gateway"),
        Problem("fd44:0:0:9::/64 via 2001:db8::1", "add route fd44:0:0:9::/64 via 2001:db8::1: No route to host"),
    )
    assert report.standing.stood(V4)
    assert not report.standing.stood(FAR)
