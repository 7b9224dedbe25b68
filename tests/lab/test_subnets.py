"""Nodes in several subnets: where everything is, and that routers carry packets of nodes alone."""

from ipaddress import ip_address

import pytest

from build import pod
from ends import exchange
from inside import run_inside
from vallum.lab.addressing import ByNode
from vallum.lab.cluster import Cluster
from vallum.lab.subnets import settle
from vallum.lab.topology import complete, plan
from vallum.model.errors import InputError
from vallum.model.objects import Node, Object

WORLD: tuple[Object, ...] = (
    pod("a/one", node="node1"),
    pod("a/two", node="node2"),
    pod("a/third", node="node3"),
    pod("a/stray", "192.0.2.9", node="node2"),
)


def test_nodes_are_in_turn_in_the_subnets_and_each_has_a_router() -> None:
    topology = plan(WORLD, 3, before=settle(WORLD, 3, 2))
    assert {node.name: str(node.addresses[0]) for node in topology.nodes} == {
        "node1": "172.20.1.11/24",
        "node2": "172.20.2.12/24",
        "node3": "172.20.1.13/24",
    }
    assert [node.link for node in topology.nodes] == [router.netns for router in (*topology.inner, topology.inner[0])]
    assert {str(route.destination) for route in topology.inner[1].routes if route.destination.version == 4} == {
        "10.44.2.0/24",
        "192.0.2.9/32",
    }


def test_no_router_is_told_to_the_nodes_because_none_knows_their_pods() -> None:
    topology = plan(WORLD, 3, before=settle(WORLD, 3, 2))
    assert [each.routers for each in complete(WORLD, topology) if isinstance(each, Node)] == [()] * 3


def test_stated_addresses_in_one_range_of_links_lead_to_the_next_and_in_all_of_them_to_a_refusal() -> None:
    there = (pod("a/taken", "172.20.9.9"),)
    assert str(settle(there, 2, 2).nodes[0].addresses[0]) == "172.31.1.11/24"
    everywhere = tuple(
        pod(f"a/p{number}", each) for number, each in enumerate(("172.20.0.1", "172.31.0.1", "192.168.0.1"))
    )
    with pytest.raises(InputError, match="every range that the lab could use for its subnets"):
        settle(everywhere, 2, 2)


@pytest.mark.packets
def test_nodes_and_outside_reach_everything_across_subnets_and_pods_only_single_addresses() -> None:
    def piece() -> dict[str, bool]:
        cluster = Cluster(ByNode(3, 2).start(WORLD))
        cluster.build()
        for each in cluster.topology.pods:
            cluster.link_up(each.pod)
        pods = {each.pod.name: (each.netns, each.addresses[0]) for each in cluster.topology.pods}
        nodes = {each.name: (each.netns, each.addresses[0].ip) for each in cluster.topology.nodes}
        core = (cluster.topology.router.netns, cluster.topology.router.addresses[0].ip)
        return {
            "node to node": exchange(nodes["node1"], nodes["node2"]),
            "outside to pod": exchange(core, pods["two"]),
            "pod to outside": exchange(pods["third"], core),
            "pod to pod across": exchange(pods["one"], pods["two"], 0.1),
            "pod to pod of its subnet": exchange(pods["one"], pods["third"], 0.1),
            "to a stray across": exchange(core, pods["stray"]),
        }

    lost = {"pod to pod across", "pod to pod of its subnet"}
    assert {name for name, passes in run_inside(piece).items() if not passes} == lost


def test_addresses_of_links_are_of_no_pod() -> None:
    topology = settle((), 2, 2)
    links = {own.ip for router in topology.routers for own in (*router.addresses, *router.uplink)}
    assert ip_address("172.20.1.1") in links
    assert not any(address in network for address in links for node in topology.nodes for network in node.pod_ranges)
