"""Pods and nodes of a lab with zones and racks: who gets which place and address, and what is refused."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centres import Centre, racks
from vallum.ipam import romana
from vallum.lab.topology import complete
from vallum.model.errors import InputError
from vallum.model.objects import Namespace, Node, Object, Pod, PodId
from vallum.model.snapshot import snapshot_of

MIXED = {
    "networks": [
        {"name": "prod", "cidr": "10.64.0.0/14", "block_mask": 27},
        {"name": "lab", "cidr": "192.168.200.0/22", "tenants": ["ci"]},
    ],
    "topologies": [
        {"networks": ["prod"], "map": [{"name": zone, "assignment": {"zone": zone}, "groups": []} for zone in "ab"]},
        {
            "networks": ["lab"],
            "map": [{"name": "bench", "groups": [{"name": name, "ip": f"10.9.0.{name[1]}"} for name in ("n1", "n2")]}],
        },
    ],
}


def pod(name: str, *addresses: str, node: str | None = None, space: str = "shop", host: bool = False) -> Pod:
    return Pod(PodId(space, name), node=node, addresses=tuple(map(ip_address, addresses)), host_network=host)


def addresses(centre: Centre, name: str) -> list[str]:
    return [str(one) for each in centre.topology.placed if each.pod.name == name for one in each.addresses]


def node_of(centre: Centre, name: str) -> str:
    return next(each.node for each in centre.topology.placed if each.pod.name == name)


def refusal(centre: Centre, *objects: Object) -> str:
    """What is said of a world that cannot be; nothing has changed by it."""
    before = centre.topology, centre.state.revision
    with pytest.raises(InputError) as caught:
        centre.apply(objects)
    assert (centre.topology, centre.state.revision) == before
    return str(caught.value)


def test_without_a_number_there_is_a_node_for_each_open_group() -> None:
    assert [node.name for node in Centre(racks(2, 2)).topology.nodes] == ["node1", "node2", "node3", "node4"]


def test_nodes_are_placed_by_their_labels_and_more_are_made_to_fit() -> None:
    stated = (Node("z", (("rack", "r2"), ("zone", "z2"))), Node("y", (("rack", "r2"), ("zone", "z2"), ("x", ""))))
    centre = Centre(racks(2, 2), stated, 3)
    links = {node.name: node.link for node in centre.topology.nodes}
    assert links == {"z": "vallum-router:z2:r2", "y": "vallum-router:z2:r2", "node1": "vallum-router:z1:r1"}
    world = snapshot_of(complete(stated, centre.topology))
    assert world.nodes["node1"].labels == (("zone", "z1"), ("rack", "r1"))
    assert world.nodes["z"].labels == stated[0].labels


def test_a_node_whose_labels_fit_no_group_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="Host a: no group takes a host with the labels zone=z9; groups ask for: zone"):
        Centre(racks(2, 2), (Node("a", (("zone", "z9"),)),))


def test_hosts_that_a_topology_lists_are_nodes_where_the_world_says_so_or_nothing_else_is_open() -> None:
    both = Centre(romana.read(MIXED))
    assert [node.name for node in both.topology.nodes] == ["node1", "node2"]
    stated = Centre(romana.read(MIXED), (Node("n2"), pod("t", node="n2", space="ci")))
    assert addresses(stated, "t") == ["192.168.200.0"]
    fixed = {"networks": MIXED["networks"][1:], "topologies": MIXED["topologies"][1:]}
    alone = Centre(romana.read(fixed), nodes=1)
    assert [node.name for node in alone.topology.nodes] == ["n1"]
    with pytest.raises(InputError, match="topology: lists 2 hosts and no open group, and 3 nodes are asked for"):
        Centre(romana.read(fixed), nodes=3)


def test_a_pod_gets_an_address_of_each_family_out_of_its_node_s_group() -> None:
    centre = Centre(racks(2, 2), (pod("a", node="node1"), pod("b", node="node4"), pod("h", node="node1", host=True)))
    assert addresses(centre, "a") == ["10.64.0.0", "fd64::"]
    assert addresses(centre, "b") == ["10.67.0.0", "fd64:0:0:c000::"]
    assert addresses(centre, "h")[0].startswith("172.20.")
    world = snapshot_of(complete(centre.objects, centre.topology))
    node = world.nodes["node4"]
    assert list(map(str, node.pod_ranges)) == ["10.67.0.0/30", "fd64:0:0:c000::/126"]
    assert list(map(str, node.groups)) == ["10.66.0.0/15", "10.67.0.0/16", "fd64:0:0:8000::/49", "fd64:0:0:c000::/50"]
    assert node.routers == tuple(own.ip for own in centre.topology.router_of("vallum-router:z2:r2").addresses)


def test_a_stated_address_is_kept_on_a_node_of_its_group() -> None:
    centre = Centre(racks(2, 2), (pod("a", "10.67.5.6"), pod("b"), pod("c", "10.67.5.5")))
    assert (node_of(centre, "a"), addresses(centre, "a")[0]) == ("node4", "10.67.5.6")
    assert (node_of(centre, "c"), addresses(centre, "c")[0]) == ("node4", "10.67.5.5")


def test_an_address_of_a_block_goes_where_the_block_is() -> None:
    centre = Centre(racks(1, 1), (pod("a", "10.64.0.9", node="node2"),), 2)
    centre.apply((*centre.objects, pod("b", "10.64.0.10")))
    assert node_of(centre, "b") == "node2"


def test_an_address_outside_of_the_node_s_group_is_refused_and_nothing_changes() -> None:
    centre = Centre(racks(2, 2), (pod("a", node="node1"),))
    said = refusal(centre, pod("new", node="node2"), pod("b", "10.67.0.1", node="node1"), pod("c", "10.99.0.1"))
    cure = "ask for one of 10.64.0.0/16; or leave podIPs out"
    assert said.splitlines() == [
        f"Pod shop/{name} status.podIPs on node1: {address} is not to be had on this host; {cure}"
        for name, address in (("b", "10.67.0.1"), ("c", "10.99.0.1"))
    ]


def test_a_pod_of_a_namespace_that_no_network_serves_is_refused_with_its_node() -> None:
    centre = Centre(romana.read(MIXED), (Node("n1"), Namespace("shop", ())))
    said = refusal(centre, pod("t", node="n1"))
    assert said.startswith("Pod shop/t on n1: Host n1: no network serves tenant shop here; closed to it: lab")


def test_what_differs_from_before_alone_changes() -> None:
    centre = Centre(racks(2, 2), (pod("a"), pod("b"), pod("c")))
    before = {name: (node_of(centre, name), addresses(centre, name)) for name in "abc"}
    revision = centre.state.revision
    centre.apply(centre.objects)
    assert centre.state.revision == revision
    centre.apply((pod("0"), pod("b"), pod("c")))
    assert {name: (node_of(centre, name), addresses(centre, name)) for name in "bc"} == {
        name: before[name] for name in "bc"
    }


WORLDS = st.lists(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.sampled_from([None, "node1", "node2", "node3"]), st.sampled_from([None, 1, 4, 5])),
    ),
    min_size=1,
    max_size=4,
)
"""Pods by name: the node that each states, and the offset of the address in node1's rack."""


@settings(deadline=None, max_examples=60)
@given(WORLDS)
def test_whatever_worlds_came_before_addresses_are_apart_in_their_groups_and_planned_again_as_they_are(
    worlds: list[dict[str, tuple[str | None, int | None]]],
) -> None:
    centre = Centre(racks(1, 2), nodes=3)
    for world in worlds:
        stated = ((name, node, offset and f"10.64.0.{offset}") for name, (node, offset) in world.items())
        objects = tuple(pod(name, *([address] if address else ()), node=node) for name, node, address in stated)
        try:
            centre.apply(objects)
        except InputError:
            continue
        pods = centre.topology.pods
        assert {each.pod.name for each in pods} == set(world)
        had = [address for each in pods for address in each.addresses]
        assert len(set(had)) == len(had) == 2 * len(pods)
        for each in pods:
            node = centre.topology.node_of(each.node)
            assert all(any(address in own for own in node.pod_ranges) for address in each.addresses)
            assert centre.ended("node3", each.addresses[0]) == each.node
        before = centre.topology
        assert centre.apply(objects) == before


def test_a_freed_address_can_be_another_pod_s_in_the_next_world() -> None:
    centre = Centre(racks(1, 1), (pod("a", "10.64.0.9", node="node1"),))
    centre.apply((pod("b", "10.64.0.9", node="node1"),))
    assert addresses(centre, "b")[0] == "10.64.0.9"
    centre.apply((pod("b", node="node1"),))
    assert addresses(centre, "b")[0] == "10.64.0.9"


def test_a_pod_that_moves_gets_an_address_where_it_goes_and_its_block_can_be_another_node_s() -> None:
    centre = Centre(racks(1, 1), (pod("a", node="node1"),), 2)
    centre.apply((pod("a", node="node2"), pod("b", "10.64.0.1", node="node2")))
    assert str(centre.topology.node_of("node2").pod_ranges[0]) == "10.64.0.0/30"
    assert centre.topology.node_of("node1").pod_ranges == ()


def test_labels_that_would_take_a_node_out_of_its_group_and_new_nodes_are_refused() -> None:
    own = Node("a", (("rack", "r1"), ("zone", "z1")))
    centre = Centre(racks(2, 2), (own,))
    said = refusal(centre, Node("a", (("rack", "r2"), ("zone", "z1"))))
    assert said.startswith("Host a labels: these labels take it out of 10.64.0.0/16 of network pods")
    assert "no such node in the running lab" in refusal(centre, own, Node("b"))
