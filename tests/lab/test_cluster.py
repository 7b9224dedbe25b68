"""A built plan carries packets in both families, changes live, and keeps a pod closed until its link goes up."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import TypeVar

import pytest

from ends import End, exchange
from inside import run_inside
from vallum.kernel import netns
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.lab.cluster import Changes, Cluster
from vallum.lab.topology import Topology, complete, plan
from vallum.model.address import Packed
from vallum.model.objects import Block, Object, Peer, Pod, PodId, Policy, PolicyId, PolicyRule
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Problem
from vallum.network.hostgw.plan import plan as hostgw
from vallum.network.options import Options

pytestmark = pytest.mark.packets
Result = TypeVar("Result")


def pod(name: str, *addresses: str, node: str | None = None) -> Pod:
    return Pod(PodId("shop", name), node=node, addresses=tuple(map(ip_address, addresses)))


def block(network: str, *excepts: str) -> Peer:
    return Peer(block=Block(ip_network(network), tuple(map(ip_network, excepts))))


BLOCKS = (
    block("203.0.113.0/24", "203.0.113.128/25"),
    block("2001:db8::/32"),
    block("172.20.0.0/24"),
    block("fd00:172:20::/64"),
)
WORLD: tuple[Object, ...] = (
    pod("a", node="node1"),
    pod("b", node="node1"),
    pod("c", node="node2"),
    pod("only4", "192.0.2.9", node="node2"),
    pod("only6", "2001:db8:5::9", node="node1"),
    pod("moved", "10.44.1.200", "fd44:0:0:1::200", node="node2"),
    Policy(PolicyId("shop", "p"), egress=(PolicyRule(peers=BLOCKS),)),
)  # fmt: skip


def built(piece: Callable[[Cluster], Result], objects: tuple[Object, ...] = WORLD, *, up: bool = True) -> Result:
    def wired() -> Result:
        cluster = Cluster(plan(objects, 2))
        cluster.build()
        for each in cluster.topology.pods if up else ():
            cluster.link_up(each.pod)
        return piece(cluster)

    return run_inside(wired)


def route(cluster: Cluster, objects: tuple[Object, ...] = WORLD) -> tuple[Problem, ...]:
    """Let every node route to the others by host-gw, as its agent would. What could not be."""
    world = snapshot_of(complete(objects, cluster.topology))
    problems: tuple[Problem, ...] = ()
    for node in cluster.topology.nodes:
        with netns.entered(node.netns):
            problems += sync(hostgw(world, node.name, Options())).problems
    return problems


def ends(topology: Topology) -> list[End]:
    return [(each.netns, address) for each in topology.pods for address in each.addresses]


def broken(pairs: list[tuple[End, End]]) -> list[tuple[str, str]]:
    same = (pair for pair in pairs if pair[0][1].version == pair[1][1].version)
    return [(str(one[1]), str(other[1])) for one, other in same if not exchange(one, other)]


@pytest.mark.parametrize("as_nobody", [False, True], ids=["as ourselves", "as nobody"])
def test_every_pod_reaches_every_pod_by_the_addresses_both_have(*, as_nobody: bool) -> None:
    def piece() -> tuple[int, list[tuple[str, str]]]:
        cluster = Cluster(plan(WORLD, 2))
        cluster.build()
        for each in cluster.topology.pods:
            cluster.link_up(each.pod)
        assert route(cluster) == ()
        pairs = [(one, other) for one in ends(cluster.topology) for other in ends(cluster.topology)]
        return len(pairs), broken(pairs)

    assert run_inside(piece, as_nobody=as_nobody) == (100, [])


def test_pods_nodes_and_the_world_outside_reach_each_other() -> None:
    def piece(cluster: Cluster) -> tuple[int, list[tuple[str, str]]]:
        topology = cluster.topology
        route(cluster)
        world = [(topology.router.netns, address) for address in topology.router.outside]
        nodes = [(node.netns, each.ip) for node in topology.nodes for each in node.addresses]
        pairs = [(one, other) for one in ends(topology) for other in (*world, *nodes)]
        return len(world), broken([*pairs, *((other, one) for one, other in pairs)])

    assert built(piece) == (9, [])


def test_no_router_carries_what_a_node_sends_to_the_pods_of_another() -> None:
    def piece(cluster: Cluster) -> tuple[set[tuple[str, str]], list[tuple[str, str]]]:
        pods = {each.pod.name: (each.netns, each.addresses[0]) for each in cluster.topology.pods}
        across = [(pods["a"], pods["c"]), (pods["c"], pods["b"])]
        lost = {(str(one[1]), str(other[1])) for one, other in across if not exchange(one, other, 0.1)}
        route(cluster)
        return lost, broken(across)

    assert built(piece) == ({("10.44.1.2", "10.44.2.2"), ("10.44.2.2", "10.44.1.3")}, [])


@pytest.mark.stance(17)
def test_a_pod_hears_and_says_nothing_until_its_link_goes_up() -> None:
    def piece(cluster: Cluster) -> tuple[bool, bool, bool]:
        one, other = ((each.netns, each.addresses[0]) for each in cluster.topology.pods[:2])
        cluster.link_up(cluster.topology.pods[0].pod)
        closed = exchange(one, other, 0.05), exchange(other, one, 0.05)
        cluster.link_up(cluster.topology.pods[1].pod)
        cluster.link_up(cluster.topology.pods[1].pod)
        return (*closed, exchange(one, other))

    assert built(piece, up=False) == (False, False, True)


def test_the_node_s_end_has_its_routes_from_the_start_and_no_ipv4_address() -> None:
    def piece(cluster: Cluster) -> tuple[set[str], dict[Packed, str]]:
        (node, *_) = cluster.topology.nodes
        with netns.entered(node.netns), Rtnetlink() as netlink:
            return {link.name for link in netlink.links()}, netlink.host_routes()

    names, routes = built(piece, up=False)
    local = [each for each in plan(WORLD, 2).pods if each.node == "node1"]
    assert names == {"lo", "eth0", *(each.interface for each in local)}
    assert sorted(routes.values()) == sorted(each.interface for each in local for _ in each.addresses)


def test_apply_changes_only_what_differs() -> None:
    def piece(cluster: Cluster) -> tuple[Changes, list[tuple[str, str]], tuple[str, ...]]:
        changed = (*(each for each in WORLD if each != WORLD[1]), pod("new", "198.18.0.1", node="node1"))
        world = tuple(pod("only4", "192.0.2.10", node="node1") if each == WORLD[3] else each for each in changed)
        changes = cluster.apply(plan(world, 2, before=cluster.topology))
        for each in changes.added:
            cluster.link_up(each)
        route(cluster, world)
        pairs = [(one, other) for one in ends(cluster.topology) for other in ends(cluster.topology)]
        return changes, broken(pairs), netns.names()

    changes, failed, names = built(piece)
    assert {each.name for each in changes.removed} == {"b", "only4"}
    assert {each.name for each in changes.added} == {"new", "only4"}
    assert failed == []
    assert "vallum-shop.b" not in names


def test_the_world_outside_follows_the_policies() -> None:
    def piece(cluster: Cluster) -> bool:
        cluster.apply(plan(WORLD[:-1], 2, (ip_address("198.18.5.5"),), before=cluster.topology))
        one = cluster.topology.pods[0]
        return exchange((one.netns, one.addresses[0]), (cluster.topology.router.netns, ip_address("198.18.5.5")))

    assert built(piece)


def test_nothing_is_left_after_destroy_and_it_can_be_built_again() -> None:
    def piece(cluster: Cluster) -> tuple[tuple[str, ...], int]:
        cluster.destroy()
        cluster.destroy()
        left = netns.names()
        cluster.build()
        return left, len(netns.names())

    assert built(piece) == ((), 9)
