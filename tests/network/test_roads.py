"""Every range that can be reached has one road, chosen by its pool and the pair of nodes; all others are told."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.model.ground import Ground, Hop
from vallum.model.objects import Node, Object, Pool
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Masquerade, Origin, Vxlan, Wiring
from vallum.network.options import Defaults, Options
from vallum.network.roads import plan

ROUTER = ip_address("172.20.0.1")
VXLAN = Defaults("vxlan")


def node(number: int, *ranges: str, addresses: Iterable[str] = ()) -> Node:
    own = tuple(addresses) or (f"172.20.0.{number}",)
    return Node(f"node{number}", (), tuple(map(ip_address, own)), tuple(map(ip_network, ranges)))


ONE, TWO, THREE = (node(number, f"10.44.{number}.0/24") for number in (1, 2, 3))


def ground(*near: str, far: Iterable[str] = ()) -> Ground:
    """Where these are on the link, and those behind its router."""
    hops = dict.fromkeys(near) | dict.fromkeys(far, ROUTER)
    own = ip_address("172.20.0.1")
    return Ground({ip_address(each): Hop("eth0", via, own, 1500) for each, via in hops.items()})


NEAR_AND_FAR = ground("172.20.0.2", far=["172.20.0.3"])


def of(*things: Object, defaults: Defaults = Defaults(), options: Options = Options(NEAR_AND_FAR)) -> Wiring:  # noqa: B008
    return plan(snapshot_of(things), "node1", defaults, options)


def ways(wiring: Wiring) -> dict[str, str]:
    """By range the device of its route, or `plain`."""
    return {str(route.destination): route.device or "plain" for route in wiring.routes}


def problems(wiring: Wiring) -> list[str]:
    return [f"{each.subject}: {each.text}" for each in wiring.problems]


def test_a_peer_on_the_link_is_routed_plainly_and_one_behind_a_router_is_told_with_the_cure() -> None:
    wiring = of(ONE, TWO, THREE)
    assert ways(wiring) == {"10.44.2.0/24": "plain"}
    (text,) = problems(wiring)
    what = "it is not on this link (the way is via 172.20.0.1), so its pod range 10.44.3.0/24 is not routed"
    assert text.startswith(f"node node3: {what}; choose with --backend a back end that encapsulates (")
    assert text.endswith("vxlan), and write encapsulation cross-subnet with --encapsulation")


def test_always_goes_through_the_tunnel_on_the_link_as_well() -> None:
    wiring = of(ONE, TWO, THREE, defaults=VXLAN)
    assert ways(wiring) == {"10.44.2.0/24": "vallum.vxlan4", "10.44.3.0/24": "vallum.vxlan4"}
    assert problems(wiring) == []


def test_cross_subnet_goes_through_the_tunnel_behind_a_router_alone() -> None:
    wiring = of(ONE, TWO, THREE, defaults=Defaults("vxlan", "cross-subnet"))
    assert ways(wiring) == {"10.44.2.0/24": "plain", "10.44.3.0/24": "vallum.vxlan4"}
    assert {each.remote for each in wiring.forwards} == {ip_address("172.20.0.3")}


def test_never_is_plain_whatever_the_back_end_and_says_which_setting_would_help() -> None:
    wiring = of(ONE, TWO, THREE, defaults=Defaults("vxlan", "never"))
    assert ways(wiring) == {"10.44.2.0/24": "plain"}
    assert problems(wiring)[0].endswith("write encapsulation cross-subnet with --encapsulation")
    assert (wiring.devices, wiring.mtu) == (frozenset(), None)


def test_a_peer_that_no_route_leads_to_is_told_and_its_tunnel_stays_for_when_one_does() -> None:
    nowhere = Options(ground())
    plain, tunnel = of(ONE, TWO, options=nowhere), of(ONE, TWO, defaults=VXLAN, options=nowhere)
    assert ways(plain) == {}
    assert problems(plain) == [
        "node node2: no route leads to its address 172.20.0.2, so its pod range 10.44.2.0/24 is not routed"
    ]
    assert ways(tunnel) == {"10.44.2.0/24": "vallum.vxlan4"}
    assert problems(tunnel) == ["node node2: no route leads to its address 172.20.0.2, its pods are out of reach"]


def test_a_pool_says_more_than_the_agent_and_leaves_the_rest_to_it() -> None:
    pools = (
        Pool("tunnel", ip_network("10.44.0.0/16"), backend="vxlan"),
        Pool("plain", ip_network("10.45.0.0/16"), encapsulation="never"),
    )
    two = node(2, "10.44.2.0/24", "10.45.2.0/24", "10.46.2.0/24")
    hostgw, vxlan = of(ONE, two, *pools), of(ONE, two, *pools, defaults=VXLAN)
    assert ways(hostgw) == {"10.44.2.0/24": "vallum.vxlan4", "10.45.2.0/24": "plain", "10.46.2.0/24": "plain"}
    assert ways(vxlan) == ways(hostgw) | {"10.46.2.0/24": "vallum.vxlan4"}


def test_the_smallest_pool_that_holds_a_range_decides() -> None:
    pools = (
        Pool("all", ip_network("10.0.0.0/8"), backend="vxlan"),
        Pool("some", ip_network("10.44.2.0/23"), encapsulation="never"),
    )
    assert ways(of(ONE, TWO, *pools)) == {"10.44.2.0/24": "plain"}


def test_a_problem_of_a_range_of_a_pool_names_the_pool() -> None:
    (text,) = problems(of(ONE, THREE, Pool("blue", ip_network("10.44.0.0/16"), backend="vxlan", encapsulation="never")))
    assert text.endswith("; write encapsulation cross-subnet in pool blue")


def test_a_back_end_that_is_not_there_is_told_once_and_nothing_of_that_pool_is_routed() -> None:
    wiring = of(ONE, TWO, THREE, Pool("blue", ip_network("10.44.0.0/16"), backend="vxlna"))
    (text,) = problems(wiring)
    assert text.startswith("pool blue: there is no back end 'vxlna'; write one of hostgw, ")
    assert wiring.routes == frozenset()


def test_a_node_without_ranges_is_told() -> None:
    assert problems(of(ONE, node(2))) == ["node node2: it has no pod range, so nothing is routed to it"]


def test_of_ranges_that_overlap_the_own_one_and_then_the_first_by_name_is_kept() -> None:
    wiring = of(ONE, node(2, "10.44.0.0/16"), node(3, "10.45.0.0/24"), node(4, "10.45.0.0/25"), defaults=VXLAN)
    assert ways(wiring) == {"10.45.0.0/24": "vallum.vxlan4"}
    assert problems(wiring)[0] == "node node2: its pod range 10.44.0.0/16 overlaps 10.44.1.0/24 of node node1"
    assert "node node4: its pod range 10.45.0.0/25 overlaps 10.45.0.0/24 of node node3" in problems(wiring)


def test_a_range_inside_the_service_network_is_refused() -> None:
    wiring = of(ONE, TWO, defaults=Defaults(services=(ip_network("10.44.2.0/23"),)))
    assert ways(wiring) == {}
    assert problems(wiring) == [
        "node node2: its pod range 10.44.2.0/24 overlaps the service network 10.44.2.0/23 (--service-cidr)"
    ]


def test_a_pool_that_services_lie_in_is_told_before_anybody_has_a_range_there() -> None:
    pool = Pool("blue", ip_network("10.96.0.0/16"))
    wiring = of(ONE, TWO, pool, defaults=Defaults(services=(ip_network("fd01::/108"), ip_network("10.96.0.0/12"))))
    text = "its network 10.96.0.0/16 overlaps the service network 10.96.0.0/12 (--service-cidr); give pods another one"
    assert problems(wiring) == [f"pool blue: {text}"]
    assert ways(wiring) == {"10.44.2.0/24": "plain"}


def test_a_pair_of_which_one_has_no_address_of_the_family_meets_in_the_tunnel() -> None:
    one, two = node(1, "fd44:0:0:1::/64"), node(2, "fd44:0:0:2::/64", addresses=["172.20.0.2", "fd00::2"])
    options = Options(ground("172.20.0.1", "172.20.0.2", "fd00::2"))
    settings = Defaults("vxlan", "cross-subnet")
    here, there = (plan(snapshot_of([one, two]), name, settings, options) for name in ("node1", "node2"))
    assert {each.device for each in here.routes} == {each.device for each in there.routes} == {"vallum.vxlan4"}


def test_an_address_inside_the_own_pod_range_is_no_end_of_a_tunnel() -> None:
    two = node(2, "10.44.2.0/24", addresses=["10.44.2.0", "172.20.0.2"])
    one = replace(ONE, addresses=(ip_address("10.44.1.0"), *ONE.addresses))
    wiring = of(one, two, defaults=VXLAN)
    assert {each.remote for each in wiring.forwards} == {ip_address("172.20.0.2")}
    (device,) = wiring.devices
    assert isinstance(device, Vxlan)
    assert device.local == ip_address("172.20.0.1")


def test_the_least_mtu_of_all_roads_is_that_of_pods() -> None:
    far = Pool("far", ip_network("10.44.3.0/24"), backend="vxlan")
    assert of(ONE, TWO, THREE).mtu is None
    assert of(ONE, TWO, THREE, far).mtu == 1450
    assert of(ONE, TWO, THREE, replace(far, mtu=1300)).mtu == 1300


def test_the_mtu_that_was_asked_for_is_on_the_routes_for_pods_that_have_a_larger_one() -> None:
    wiring = of(ONE, TWO, THREE, Pool("far", ip_network("10.44.3.0/24"), backend="vxlan", mtu=1300))
    assert {str(each.destination): each.mtu for each in wiring.routes} == {"10.44.2.0/24": None, "10.44.3.0/24": 1300}
    small = of(ONE, TWO, defaults=VXLAN, options=Options(NEAR_AND_FAR, mtu=1400))
    assert ({each.mtu for each in small.routes}, small.mtu) == ({1400}, 1400)


def test_more_mtu_than_there_is_is_a_problem_and_pods_get_what_there_is() -> None:
    wiring = of(ONE, TWO, defaults=VXLAN, options=Options(NEAR_AND_FAR, mtu=1500))
    assert problems(wiring) == [
        "MTU 1500 (--mtu): is more than the 1450 bytes that packets between nodes can have here, which pods get"
    ]
    assert ({each.mtu for each in wiring.routes}, wiring.mtu) == ({None}, 1450)


def test_pods_are_masqueraded_where_their_pool_says_so_and_not_towards_pods_and_services() -> None:
    one = node(1, "10.44.1.0/24", "10.45.1.0/24")
    pool = Pool("public", ip_network("10.45.0.0/16"), masquerade=False)
    wiring = of(one, TWO, pool, defaults=Defaults(masquerade=True, services=(ip_network("10.96.0.0/12"),)))
    inside = ("10.44.1.0/24", "10.44.2.0/24", "10.45.0.0/16", "10.96.0.0/12", "172.20.0.2/32")
    assert wiring.masquerade == Masquerade((ip_network("10.44.1.0/24"),), tuple(map(ip_network, inside)))
    assert of(one, TWO, pool).masquerade is None


def test_a_node_that_answers_by_a_plain_route_sees_pods_as_they_are_and_one_behind_a_tunnel_does_not() -> None:
    settings = Defaults("vxlan", "cross-subnet", masquerade=True)
    wiring = of(ONE, TWO, THREE, defaults=settings)
    assert wiring.masquerade is not None
    near, far = (ip_network(each.addresses[0]) for each in (TWO, THREE))
    assert near in wiring.masquerade.inside
    assert far not in wiring.masquerade.inside


def in_rack(number: int, rack: int) -> Node:
    groups = tuple(map(ip_network, ("10.44.0.0/16", f"10.44.{rack * 64}.0/18")))
    name = node(number, f"10.44.{rack * 64 + number}.0/24")
    return replace(name, groups=groups, routers=(ip_address(f"172.20.{rack}.1"),))


def test_where_the_topology_names_routers_groups_go_by_them_and_nobody_is_told_off() -> None:
    racks = (in_rack(1, 0), in_rack(2, 0), in_rack(3, 1))
    wiring = of(*racks, options=Options(ground("172.20.0.2", far=["172.20.0.3"])))
    gateways = {str(each.destination): str(each.gateway) for each in wiring.routes}
    assert gateways == {"10.44.2.0/24": "172.20.0.2", "10.44.64.0/18": "172.20.0.1"}
    assert problems(wiring) == []


def test_groups_behind_routers_that_encapsulation_spares_are_no_routes() -> None:
    racks = (in_rack(1, 0), in_rack(2, 0), in_rack(3, 1))
    assert ways(of(*racks, defaults=Defaults("vxlan", "cross-subnet"))) == {
        "10.44.2.0/24": "plain",
        "10.44.67.0/24": "vallum.vxlan4",
    }


# Whatever the world


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Object], Defaults, Options]:
    nodes = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        thirds = draw(st.lists(st.integers(40, 47), max_size=3, unique=True))
        ranges = [f"10.{third}.{number}.0/24" for third in thirds]
        ranges += [f"fd44:0:0:{number}::/64"] * draw(st.booleans())
        families = draw(st.sampled_from(((4,), (6,), (4, 6), ())))
        addresses = [{4: f"172.20.0.{number}", 6: f"fd00::{number}"}[each] for each in families]
        nodes.append(Node(f"node{number}", (), tuple(map(ip_address, addresses)), tuple(map(ip_network, ranges))))
    back_ends = st.sampled_from((None, "hostgw", "vxlan", "ipip"))
    sorts = st.sampled_from((None, "always", "cross-subnet", "never"))
    pools = [
        Pool(f"p{third}", ip_network(f"10.{third}.0.0/16"), draw(back_ends), draw(sorts))
        for third in draw(st.lists(st.integers(40, 47), max_size=4, unique=True))
    ]
    reached = [address for each in nodes for address in each.addresses if draw(st.integers(0, 9))]
    hops = {each: Hop("eth0", draw(st.sampled_from((None, ROUTER))), ROUTER, 1500) for each in reached}
    defaults = Defaults(draw(st.sampled_from(("hostgw", "vxlan", "ipip"))), draw(sorts) or "always")
    return [*nodes, *pools], defaults, Options(Ground(hops, ipip="bpf"), outer=draw(st.sampled_from((4, 6))))


@settings(max_examples=150)
@given(worlds())
def test_each_range_of_a_peer_has_one_route_or_its_node_is_told(world: tuple[list[Object], Defaults, Options]) -> None:
    things, defaults, options = world
    wiring = plan(snapshot_of(things), "node1", defaults, options)
    counts = Counter(route.destination for route in wiring.routes)
    told = {each.subject for each in wiring.problems}
    assert set(counts.values()) <= {1}
    for each in things:
        if isinstance(each, Node) and each.name != "node1":
            for network in each.pod_ranges:
                assert network in counts or f"node {each.name}" in told or "node node1" in told
    known = {network for each in things if isinstance(each, Node) for network in each.pod_ranges}
    assert counts.keys() <= known


@settings(max_examples=100)
@given(worlds())
def test_what_is_sent_into_a_tunnel_has_an_entry_to_get_through(world: tuple[list[Object], Defaults, Options]) -> None:
    things, defaults, options = world
    wiring = plan(snapshot_of(things), "node1", defaults, options)
    devices = {each.name for each in wiring.devices}
    neighbours = {(each.device, each.address): each.mac for each in wiring.neighbours}
    forwards = {(each.device, each.mac) for each in wiring.forwards}
    carried = {(each.device, each.inner, each.remote) for each in wiring.carried}
    for route in wiring.routes:
        if route.device is not None:
            assert route.gateway is not None
            assert route.device in devices
            assert (route.device, neighbours.get((route.device, route.gateway))) in forwards or (
                (route.device, route.destination, route.gateway) in carried
            )
    origins = {each.inner for each in wiring.origins}
    assert {route.destination for route in wiring.routes if route.device} <= origins


def sees(world: list[Object], routed: bool, outer: int) -> Options:
    """The same ground for every node: all on one link, or each behind a router."""
    addresses = [address for each in world if isinstance(each, Node) for address in each.addresses]
    hop = Hop("eth0", ROUTER if routed else None, ROUTER, 1500)
    return Options(Ground(dict.fromkeys(addresses, hop), ipip="kernel"), outer=outer)


@settings(max_examples=150)
@given(worlds(), st.booleans())
def test_what_a_node_sends_into_a_tunnel_the_other_lets_out(
    world: tuple[list[Object], Defaults, Options], routed: bool
) -> None:
    things, defaults, options = world
    snapshot, ground = snapshot_of(things), sees(things, routed, options.outer)
    plans = {name: plan(snapshot, name, defaults, ground) for name in snapshot.nodes}
    for sender, node in snapshot.nodes.items():
        local = {each.name: each.local for each in plans[sender].devices}
        for route in plans[sender].routes:
            receiver = next(name for name, each in snapshot.nodes.items() if route.destination in each.pod_ranges)
            for network in node.pod_ranges:
                if route.device is not None and network.version == route.destination.version:
                    expected = Origin(route.device, local[route.device], network)
                    assert expected in plans[receiver].origins


@settings(max_examples=50)
@given(worlds(), st.data())
def test_the_order_of_objects_does_not_matter(
    world: tuple[list[Object], Defaults, Options], data: st.DataObject
) -> None:
    things, defaults, options = world
    shuffled = data.draw(st.permutations(things))
    first, second = (plan(snapshot_of(each), "node1", defaults, options) for each in (things, shuffled))
    assert first == second
