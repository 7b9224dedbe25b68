"""The lab as a data centre: who hangs where, and how few routes lead everywhere."""

from ipaddress import ip_address, ip_network

import pytest

from centres import Centre, pods, racks
from vallum.ipam import romana
from vallum.lab.topology import Topology
from vallum.model.errors import InputError
from vallum.model.objects import Node, Pod, PodId


def to_pods(centre: Centre, netns: str) -> list[str]:
    """Destinations of the routes of this namespace into the IPv4 pod network."""
    found = (route.destination for route in centre.routes(netns))
    return sorted(str(each) for each in found if each.version == 4 and each.subnet_of(ip_network("10.64.0.0/14")))


@pytest.fixture(scope="module")
def centre() -> Centre:
    """Three zones of two racks of two nodes, a pod on each."""
    return Centre(racks(3, 2), pods(12, 12), 12)


def test_each_group_with_nodes_has_a_router_on_the_link_of_the_group_around_it(centre: Centre) -> None:
    above = {router.group: router.above for router in centre.topology.inner}
    assert above == {
        "z1": "vallum-router",
        "z1/r1": "vallum-router:z1",
        "z1/r2": "vallum-router:z1",
        "z2": "vallum-router",
        "z2/r1": "vallum-router:z2",
        "z2/r2": "vallum-router:z2",
        "z3": "vallum-router",
        "z3/r1": "vallum-router:z3",
        "z3/r2": "vallum-router:z3",
    }
    links = {node.name: node.link for node in centre.topology.nodes}
    assert [links[f"node{number}"] for number in (1, 2, 6, 7)] == [
        "vallum-router:z1:r1",
        "vallum-router:z1:r2",
        "vallum-router:z3:r2",
        "vallum-router:z1:r1",
    ]


def test_no_two_ends_of_links_share_an_address_and_each_lies_on_its_link(centre: Centre) -> None:
    topology = centre.topology
    ends = [own for each in topology.routers for own in (*each.addresses, *each.uplink)]
    ends += [own for node in topology.nodes for own in node.addresses]
    assert len({own.ip for own in ends}) == len(ends)
    for node in topology.nodes:
        assert [own.network for own in node.addresses] == link_of(topology, node.link)
    for router in topology.inner:
        assert [own.network for own in router.uplink] == link_of(topology, router.above or "")


def link_of(topology: Topology, netns: str) -> list[object]:
    return [own.network for own in topology.router_of(netns).addresses]


def test_every_pod_is_reached_from_every_node(centre: Centre) -> None:
    for node in centre.topology.nodes:
        for pod in centre.topology.pods:
            for address in pod.addresses:
                assert centre.ended(node.name, address) == pod.node


def test_routers_and_nodes_hold_one_route_a_group_however_many_nodes_there_are(centre: Centre) -> None:
    larger = Centre(racks(3, 2), pods(18, 18), 18)
    for each in (centre, larger):
        assert to_pods(each, "vallum-router") == ["10.64.0.0/16", "10.65.0.0/16", "10.66.0.0/16"]
        assert to_pods(each, "vallum-router:z2") == ["10.65.0.0/17", "10.65.128.0/17"]
        beyond = [text for text in to_pods(each, "vallum-node1") if not text.endswith("/30")]
        assert beyond == ["10.64.128.0/17", "10.65.0.0/16", "10.66.0.0/16"]
    assert [len(to_pods(each, "vallum-router:z1:r1")) for each in (centre, larger)] == [2, 3]
    assert [len(centre.routes("vallum-router")), len(larger.routes("vallum-router"))] == [24, 24]


def test_an_address_that_nobody_has_ends_at_the_router_of_its_group() -> None:
    """Also where one rack of a zone has nodes, so that the zone's router could send it all of the zone."""
    objects = (Node("a", (("rack", "r1"), ("zone", "z1"))), Node("b", (("rack", "r2"), ("zone", "z2"))))
    centre = Centre(racks(3, 2), (*objects, Pod(PodId("shop", "p"), node="a"), Pod(PodId("shop", "q"), node="b")))
    for source in "ab":
        assert centre.ended(source, ip_address("10.64.127.9")) == "vallum-router:z1:r1"
        assert centre.ended(source, ip_address("10.64.128.9")) == "vallum-router:z1"
        assert centre.ended(source, ip_address("10.66.0.9")) == "vallum-router"
        assert centre.ended(source, ip_address("8.8.8.8")) == "vallum-router"


def test_a_group_alone_in_another_is_one_route_for_both() -> None:
    centre = Centre(racks(2, 1), pods(4, 4), 4)
    assert to_pods(centre, "vallum-router") == ["10.64.0.0/15", "10.66.0.0/15"]
    assert to_pods(centre, "vallum-router:z1") == ["10.64.0.0/15"]
    assert all(centre.ended("node1", pod.addresses[0]) == pod.node for pod in centre.topology.pods)
    assert centre.ended("node1", ip_address("10.66.9.9")) == "vallum-router:z2:r1"


def test_what_a_probe_asks_for_inside_of_a_group_is_at_the_core() -> None:
    centre = Centre(racks(2, 2), pods(4, 4), 4)
    asked = ip_address("10.64.9.9")
    centre.apply(centre.objects, asked)
    assert asked in centre.topology.router.outside
    assert {centre.ended(node.name, asked) for node in centre.topology.nodes} == {"vallum-router"}


def test_links_keep_out_of_networks_and_of_stated_addresses() -> None:
    centre = Centre(racks(1, 1, cidr="172.16.0.0/12", six="fd00:172:20::/48"))
    assert [str(own) for own in centre.topology.router.addresses] == ["192.168.0.1/24", "fd00:172:31::1/64"]
    stated = Pod(PodId("shop", "p"), addresses=(ip_address("172.20.0.1"),))
    with pytest.raises(InputError, match=r"status.podIPs on node1: 172.20.0.1 is not to be had"):
        Centre(racks(1, 1), (stated,))
    with pytest.raises(InputError, match="IPv4 networks lie in every range that the lab could use"):
        Centre(racks(1, 1, cidr="0.0.0.0/0"))


def test_groups_without_a_name_of_their_own_are_called_by_labels_or_by_their_slot() -> None:
    tree = [
        {"assignment": {"example.com/rack": "a b"}, "groups": []},
        {"groups": []},
        {"name": "x", "groups": []},
        {"name": "x", "groups": []},
    ]
    document = {"networks": [{"name": "n", "cidr": "10.64.0.0/14"}], "topologies": [{"networks": ["n"], "map": tree}]}
    routers = Centre(romana.read(document)).topology.inner
    assert [router.group for router in routers] == ["a-b", "1", "x2", "x3"]


def test_two_trees_hang_on_one_core_and_are_told_apart() -> None:
    trees = [{"networks": [name], "map": [{"assignment": {"of": name}, "groups": []}]} for name in ("n", "m")]
    networks = [{"name": "n", "cidr": "10.64.0.0/16"}, {"name": "m", "cidr": "10.65.0.0/16"}]
    centre = Centre(romana.read({"networks": networks, "topologies": trees}), pods(2, 2))
    assert [router.group for router in centre.topology.inner] == ["m/m", "n/n"]
    assert [centre.ended("node1", pod.addresses[0]) for pod in centre.topology.pods] == ["node1", "node2"]


def test_more_groups_than_a_lab_has_links_are_refused() -> None:
    with pytest.raises(InputError, match="topology: 320 groups have nodes; a lab has links for 254"):
        Centre(racks(160, 1), nodes=160)
