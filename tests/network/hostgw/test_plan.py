"""host-gw routes each other node's pod ranges through that node, and says what it cannot route."""

from ipaddress import ip_address, ip_network

from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.model.wiring import Problem, Route, Wiring
from vallum.network import load
from vallum.network.hostgw import plan as hostgw
from vallum.network.options import Options


def plan(snapshot: Snapshot, name: str) -> Wiring:
    return hostgw.plan(snapshot, name, Options())


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


def test_a_node_of_no_known_name_still_routes_to_the_others() -> None:
    assert len(plan(snapshot_of([FIRST, SECOND]), "elsewhere").routes) == 4


def test_it_is_the_back_end_called_hostgw() -> None:
    assert load("hostgw") is hostgw.plan


def in_rack(number: int, rack: int, *ranges: str) -> Node:
    """A node of one of two racks of a zone, or of another zone's (rack 3)."""
    zone = "10.0.0.0/16" if rack < 3 else "10.1.0.0/16"
    groups = tuple(map(ip_network, (zone, f"10.{rack // 3}.{rack}.0/24")))
    address, router = ip_address(f"172.20.{rack}.{number}"), ip_address(f"172.20.{rack}.1")
    return Node(f"node{number}", (), (address,), tuple(map(ip_network, ranges)), groups, (router,))


RACKS = (
    in_rack(11, 1, "10.0.1.0/28"),
    in_rack(12, 1, "10.0.1.16/28", "10.0.1.64/28"),
    in_rack(13, 2, "10.0.2.0/28"),
    in_rack(14, 3, "10.1.3.0/28"),
)


def routes_of(*nodes: Node) -> dict[str, str]:
    wiring = plan(snapshot_of(nodes), "node11")
    assert wiring.problems == ()
    return {str(route.destination): str(route.gateway) for route in wiring.routes}


def test_a_node_has_a_route_to_each_node_of_its_rack_and_one_by_the_router_to_each_other_group() -> None:
    assert routes_of(*RACKS) == {
        "10.0.1.16/28": "172.20.1.12",
        "10.0.1.64/28": "172.20.1.12",
        "10.0.2.0/24": "172.20.1.1",
        "10.1.0.0/16": "172.20.1.1",
    }


def test_more_nodes_behind_the_router_are_no_more_routes() -> None:
    more = (in_rack(15, 2, "10.0.2.16/28"), in_rack(16, 3, "10.1.3.16/28"), in_rack(17, 4, "10.1.4.0/28"))
    assert routes_of(*RACKS, *more) == routes_of(*RACKS)


def test_a_node_of_a_group_that_has_no_block_yet_is_no_problem() -> None:
    assert routes_of(*RACKS, in_rack(18, 1)) == routes_of(*RACKS)


def test_a_group_in_a_family_that_the_router_has_no_address_of_is_a_problem() -> None:
    other = in_rack(13, 2)
    six = Node("node13", (), other.addresses, (), (ip_network("fd00::/48"),), other.routers)
    text = "its router has no IPv6 address to route the group fd00::/48 through"
    assert plan(snapshot_of([RACKS[0], six]), "node11").problems == (Problem("node node13", text),)


def test_a_node_that_names_no_router_is_taken_to_be_on_this_link() -> None:
    plain = Node("node9", (), (ip_address("172.20.1.9"),), (ip_network("10.9.0.0/24"),))
    assert routes_of(*RACKS, plain)["10.9.0.0/24"] == "172.20.1.9"
