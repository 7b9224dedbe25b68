"""host-gw routes each other node's pod ranges through that node, and says what it cannot route."""

from ipaddress import ip_address, ip_network

from vallum.model.objects import Node
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Problem, Route, Wiring
from vallum.network import load
from vallum.network.hostgw.plan import plan


def node(number: int, *addresses: str, ranges: tuple[str, ...] | None = None) -> Node:
    own = (f"10.44.{number}.0/24", f"fd44:0:0:{number}::/64") if ranges is None else ranges
    return Node(f"node{number}", (), tuple(map(ip_address, addresses)), tuple(map(ip_network, own)))


FIRST = node(1, "172.20.0.11", "fd00::11")
SECOND = node(2, "172.20.0.12", "fd00::12")


def test_each_range_of_another_node_goes_by_its_address_of_the_same_family() -> None:
    expected = {
        Route(ip_network("10.44.2.0/24"), ip_address("172.20.0.12")),
        Route(ip_network("fd44:0:0:2::/64"), ip_address("fd00::12")),
    }
    assert plan(snapshot_of([FIRST, SECOND]), "node1") == Wiring(frozenset(expected))


def test_the_own_ranges_are_not_routed() -> None:
    assert plan(snapshot_of([FIRST]), "node1") == Wiring()


def test_the_first_address_of_a_family_is_the_gateway() -> None:
    other = node(2, "172.20.0.12", "172.20.0.99", ranges=("10.44.2.0/24",))
    (route,) = plan(snapshot_of([FIRST, other]), "node1").routes
    assert route.gateway == ip_address("172.20.0.12")


def test_a_range_without_an_address_of_its_family_is_a_problem_and_the_others_are_routed() -> None:
    wiring = plan(snapshot_of([FIRST, node(2, "172.20.0.12"), node(3, "172.20.0.13", "fd00::13")]), "node1")
    text = "it has no IPv6 address to route its pod range fd44:0:0:2::/64 through"
    assert wiring.problems == (Problem("node node2", text),)
    assert len(wiring.routes) == 3


def test_a_node_without_ranges_is_a_problem() -> None:
    wiring = plan(snapshot_of([FIRST, node(2, "172.20.0.12", ranges=())]), "node1")
    assert wiring.problems == (Problem("node node2", "it has no pod range, so nothing is routed to it"),)


def test_a_range_that_overlaps_another_node_s_is_a_problem_and_never_routed() -> None:
    wiring = plan(snapshot_of([FIRST, node(2, "172.20.0.12", ranges=("10.44.0.0/16",))]), "node1")
    text = "its pod range 10.44.0.0/16 overlaps 10.44.1.0/24 of node node1"
    assert wiring == Wiring(frozenset(), (Problem("node node2", text),))


def test_a_node_of_no_known_name_still_routes_to_the_others() -> None:
    assert len(plan(snapshot_of([FIRST, SECOND]), "elsewhere").routes) == 4


def test_it_is_the_back_end_called_hostgw() -> None:
    assert load("hostgw") is plan
