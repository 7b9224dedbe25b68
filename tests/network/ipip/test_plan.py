"""ipip leads each IPv4 range of another node into one device, tells programs and gate whose it is, names the rest."""

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from vallum.model.ground import Ground, Hop
from vallum.model.objects import Node
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Carried, Ipip, Origin, Problem, Route, Wiring
from vallum.network import load
from vallum.network.ipip.plan import plan
from vallum.network.options import Options

DEVICE = "vallum.ipip"
SOURCE = ip_address("10.44.1.1")
OPTIONS = Options(Ground(ipip="bpf"), sources=(SOURCE,))


def node(number: int, *addresses: str, ranges: tuple[str, ...] | None = None) -> Node:
    own = (f"10.44.{number}.0/24",) if ranges is None else ranges
    return Node(f"node{number}", (), tuple(map(ip_address, addresses)), tuple(map(ip_network, own)))


FIRST, SECOND = node(1, "172.20.1.1"), node(2, "172.20.2.1")
RANGE, REMOTE = ip_network("10.44.2.0/24"), ip_address("172.20.2.1")


def test_a_range_of_another_node_goes_through_the_device_by_that_node() -> None:
    assert plan(snapshot_of([FIRST, SECOND]), "node1", OPTIONS) == Wiring(
        frozenset({Route(RANGE, REMOTE, DEVICE, onlink=True, source=SOURCE)}),
        devices=frozenset({Ipip(DEVICE, "bpf", 1480, FIRST.addresses[0], (ip_interface(SOURCE),))}),
        carried=frozenset({Carried(DEVICE, RANGE, REMOTE)}),
        origins=frozenset({Origin(DEVICE, REMOTE, RANGE), Origin(DEVICE, REMOTE, ip_network(REMOTE))}),
        mtu=1480,
    )


def test_a_node_without_others_has_the_device_so_that_pods_know_its_mtu() -> None:
    wiring = plan(snapshot_of([FIRST]), "node1", Options(Ground(mtu=9000, ipip="kernel")))
    assert wiring == Wiring(devices=frozenset({Ipip(DEVICE, "kernel", 8980, FIRST.addresses[0])}), mtu=8980)


def test_the_narrowest_way_to_a_node_decides_the_mtu() -> None:
    hop = Hop("eth0", None, FIRST.addresses[0], 1400)
    options = Options(Ground({REMOTE: hop}, 9000, "bpf"))
    assert plan(snapshot_of([FIRST, SECOND]), "node1", options).mtu == 1380


def test_an_ipv6_range_is_a_problem_and_the_ipv4_range_goes_in() -> None:
    both = node(2, "172.20.2.1", "fd00::2", ranges=("10.44.2.0/24", "fd44:0:0:2::/64"))
    wiring = plan(snapshot_of([FIRST, both]), "node1", OPTIONS)
    text = "its pod range fd44:0:0:2::/64 is of IPv6, which ipip does not carry; use vxlan"
    assert wiring.problems == (Problem("node node2", text),)
    assert {one.destination for one in wiring.routes} == {RANGE}
    assert all(one.inner.version == 4 for one in wiring.origins)


def test_a_node_of_the_other_family_is_a_problem() -> None:
    wiring = plan(snapshot_of([FIRST, node(2, "fd00::2")]), "node1", OPTIONS)
    text = "it has no IPv4 address to send ipip packets to; use vxlan"
    assert wiring.problems == (Problem("node node2", text),)
    assert not wiring.routes
    own = plan(snapshot_of([node(1, "fd00::1"), SECOND]), "node1", OPTIONS)
    text = "it has no IPv4 address of its own to send ipip packets from; use vxlan"
    assert own == Wiring(problems=(Problem("node node1", text),))


def test_a_kernel_without_a_driver_is_a_problem_with_its_reason_and_the_cure() -> None:
    options = Options(Ground(no_ipip="this kernel has neither"))
    assert plan(snapshot_of([FIRST, SECOND]), "node1", options) == Wiring(
        problems=(Problem("node node1", "it cannot send ipip packets (this kernel has neither); use vxlan"),)
    )


@given(st.permutations(range(1, 8)), st.integers(1, 7))
def test_each_range_has_one_route_one_way_and_one_origin_in_any_order(order: list[int], own: int) -> None:
    nodes = [node(one, f"172.20.{one}.1", ranges=(f"10.44.{one}.0/24", f"10.45.{one}.0/24")) for one in order]
    wiring = plan(snapshot_of(nodes), f"node{own}", OPTIONS)
    others = {each for one in nodes if one.name != f"node{own}" for each in one.pod_ranges}
    assert {one.destination for one in wiring.routes} == {one.inner for one in wiring.carried} == others
    assert len(wiring.routes) == len(wiring.carried) == len(others)
    assert {(one.gateway, one.destination) for one in wiring.routes} == {
        (one.remote, one.inner) for one in wiring.carried
    }
    assert {(one.outer, one.inner) for one in wiring.origins if one.inner in others} == {
        (one.remote, one.inner) for one in wiring.carried
    }


def test_it_is_the_back_end_called_ipip() -> None:
    assert load("ipip") is plan
