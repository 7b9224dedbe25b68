"""The plan of a lab: who is where, with which addresses; deterministic, and wrong worlds are refused by name."""

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from vallum.lab.topology import MOST_NODES, Topology, complete, plan
from vallum.model.errors import InputError
from vallum.model.objects import Block, Node, Object, Peer, Pod, PodId, Policy, PolicyId, PolicyRule
from vallum.model.snapshot import snapshot_of


def pod(name: str, *addresses: str, node: str | None = None, host_network: bool = False, finished: bool = False) -> Pod:
    own = tuple(map(ip_address, addresses))
    return Pod(PodId("shop", name), node=node, addresses=own, host_network=host_network, finished=finished)


def addresses(topology: Topology, name: str) -> list[str]:
    return [str(one) for each in topology.placed if each.pod.name == name for one in each.addresses]


def node_of(topology: Topology, name: str) -> str:
    return next(each.node for each in topology.placed if each.pod.name == name)


def allowing(*blocks: Block) -> Policy:
    peers = tuple(Peer(block=block) for block in blocks)
    return Policy(PolicyId("shop", "p"), egress=(PolicyRule(peers=peers),))


THREE: tuple[Object, ...] = (pod("c"), pod("a"), pod("b"))


def test_nodes_have_their_number_in_their_addresses_and_ranges() -> None:
    second = plan((), 2).nodes[1]
    assert (second.name, second.netns) == ("node2", "vallum-node2")
    assert [str(one) for one in second.addresses] == ["172.20.0.12/24", "fd00:172:20::12/64"]
    assert [str(one) for one in second.pod_ranges] == ["10.44.2.0/24", "fd44:0:0:2::/64"]


def test_pods_go_round_robin_by_name_whatever_the_order_of_the_documents() -> None:
    topology = plan(THREE, 2)
    assert [node_of(topology, name) for name in "abc"] == ["node1", "node2", "node1"]
    shuffled = list(THREE)
    random.Random(1).shuffle(shuffled)
    assert plan(tuple(shuffled), 2) == topology


def test_a_pod_without_addresses_gets_one_of_each_family_from_its_node() -> None:
    topology = plan(THREE, 2)
    assert addresses(topology, "a") == ["10.44.1.2", "fd44:0:0:1::2"]
    assert addresses(topology, "b") == ["10.44.2.2", "fd44:0:0:2::2"]
    assert addresses(topology, "c") == ["10.44.1.3", "fd44:0:0:1::3"]


def test_stated_node_and_addresses_are_kept_and_nobody_else_gets_them() -> None:
    topology = plan((*THREE, pod("z", "10.44.1.2", node="node2")), 2)
    assert node_of(topology, "z") == "node2"
    assert addresses(topology, "z") == ["10.44.1.2"]
    assert addresses(topology, "a") == ["10.44.1.3", "fd44:0:0:1::2"]


def test_finished_pods_have_no_place_and_their_address_is_free() -> None:
    topology = plan((pod("done", "10.44.1.2", finished=True), pod("a")), 1)
    assert [each.pod.name for each in topology.placed] == ["a"]
    assert addresses(topology, "a")[0] == "10.44.1.2"


def test_a_host_network_pod_lives_in_its_node() -> None:
    topology = plan((pod("h", host_network=True, node="node2"),), 2)
    assert topology.pods == ()
    assert addresses(topology, "h") == ["172.20.0.12", "fd00:172:20::12"]
    assert topology.namespace_of(PodId("shop", "h")) == "vallum-node2"


def test_a_pod_that_does_not_run_has_no_namespace() -> None:
    with pytest.raises(KeyError):
        plan((pod("done", finished=True),), 1).namespace_of(PodId("shop", "done"))


def test_interfaces_fit_the_kernel_and_differ() -> None:
    long = Pod(PodId("n" * 63, "p" * 253))
    topology = plan((*(pod(f"p{number}") for number in range(100)), long), 2)
    names = {each.interface for each in topology.pods}
    assert len(names) == 101
    assert all(name.startswith("vl") and len(name) <= 15 for name in names)
    assert all(len(each.netns) <= 255 for each in topology.pods)


def test_names_that_would_meet_in_one_word_have_namespaces_of_their_own() -> None:
    topology = plan((Pod(PodId("a", "b-c")), Pod(PodId("a-b", "c")), Pod(PodId("a", "b.c"))), 1)
    assert len({each.netns for each in topology.pods}) == 3


def test_the_segment_gives_way_to_a_stated_address() -> None:
    topology = plan((pod("a", "172.20.0.11"),), 1)
    assert addresses(topology, "a") == ["172.20.0.11"]
    assert [str(one) for one in topology.nodes[0].addresses] == ["172.31.255.11/24", "fd00:172:20::11/64"]


def test_the_names_of_stated_nodes_are_kept() -> None:
    objects = (Node("worker", (("zone", "a"),)), pod("a", node="worker"))
    topology = plan(objects, 2)
    assert [node.name for node in topology.nodes] == ["worker", "node1"]
    (worker, *_) = complete(objects, topology)
    assert isinstance(worker, Node)
    assert worker.labels == (("zone", "a"),)


def test_the_router_holds_ends_for_each_block_and_what_probes_ask_for() -> None:
    policy = allowing(Block(ip_network("203.0.113.0/24"), (ip_network("203.0.113.128/25"),)))
    asked = tuple(map(ip_address, ("192.0.2.5", "127.0.0.1", "10.44.1.2", "172.20.0.11")))
    router = plan((pod("a"), policy), 1, asked).router
    assert [str(one) for one in router.outside] == ["192.0.2.5", "203.0.113.77", "203.0.113.129", "203.0.114.0"]
    assert [str(one) for one in router.addresses] == ["172.20.0.1/24", "fd00:172:20::1/64"]


def test_pods_stay_where_they_were_while_others_come_and_go() -> None:
    before = plan(THREE, 2)
    after = plan((pod("0"), pod("b"), pod("c")), 2, before=before)
    for name in "bc":
        assert (node_of(after, name), addresses(after, name)) == (node_of(before, name), addresses(before, name))
    assert addresses(after, "0")[0] not in addresses(after, "c")


def test_a_kept_address_gives_way_to_a_stated_one() -> None:
    after = plan((*THREE, pod("z", "10.44.1.2", node="node2")), 2, before=plan(THREE, 2))
    assert addresses(after, "z") == ["10.44.1.2"]
    assert "10.44.1.2" not in addresses(after, "a")


def test_the_completed_world_states_what_was_assigned() -> None:
    objects = (*THREE, pod("h", host_network=True, node="node1"), pod("done", finished=True), allowing())
    topology = plan(objects, 2)
    world = snapshot_of(complete(objects, topology))
    assert set(world.nodes) == {"node1", "node2"}
    assert world.nodes["node1"].pod_ranges == topology.nodes[0].pod_ranges
    assert [str(one) for one in world.nodes["node1"].addresses] == ["172.20.0.11", "fd00:172:20::11"]
    assert world.pods[PodId("shop", "b")].node == "node2"
    assert [str(one) for one in world.pods[PodId("shop", "b")].addresses] == ["10.44.2.2", "fd44:0:0:2::2"]
    assert world.pods[PodId("shop", "done")] == pod("done", finished=True)
    assert len(world.policies) == 1


def test_a_completed_world_is_planned_as_it_stands() -> None:
    objects = (*THREE, pod("h", host_network=True), pod("s", "192.0.2.1"))
    topology = plan(objects, 2)
    again = plan(complete(objects, topology), 2)
    assert again == topology


@pytest.mark.parametrize(
    ("objects", "line"),
    [
        ((pod("a", node="node9"),), "Pod shop/a spec.nodeName: no node node9; there are node1, node2"),
        (
            (pod("a", "10.44.1.9"), pod("b", "10.44.1.9")),
            "Pod shop/b status.podIPs: 10.44.1.9 is also that of pod shop/a; give one another",
        ),
        ((pod("a", "127.0.0.1"),), "Pod shop/a status.podIPs: 127.0.0.1 is not an address that a pod can have"),
        ((pod("a", "ff02::1"),), "Pod shop/a status.podIPs: ff02::1 is not an address that a pod can have"),
    ],
)
def test_a_world_that_cannot_be_is_refused_by_name(objects: tuple[Object, ...], line: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(objects, 2)
    assert str(caught.value) == line


@pytest.mark.parametrize("count", [0, MOST_NODES + 1])
def test_too_few_and_too_many_nodes_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"nodes: {count} nodes; a lab has 1 to 200"):
        plan((), count)


def test_a_full_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"node node1: its pod range 10.44.1.0/24 has no free address"):
        plan(tuple(pod(f"p{number:03}") for number in range(254)), 1)


def test_all_findings_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        plan((pod("a", node="x"), pod("b", node="y")), 1)
    assert len(str(caught.value).splitlines()) == 2


def test_a_running_lab_keeps_its_nodes_and_their_addresses() -> None:
    before = plan(THREE, 2)
    with pytest.raises(InputError, match="lies among the addresses of the lab's nodes"):
        plan((pod("a", "172.20.0.99"),), 2, before=before)
    with pytest.raises(InputError, match="Node late: no such node in the running lab"):
        plan((Node("late"),), 2, before=before)
    assert plan((), 2, before=before) == replace(before, pods=())
