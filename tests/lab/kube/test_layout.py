"""The test cluster's addresses: no two things share one, and names say which node they are of."""

from itertools import combinations

from vallum.lab.kube import layout


def test_no_two_nodes_share_an_address_or_a_range() -> None:
    for one, other in combinations(layout.nodes(layout.MOST_NODES), 2):
        assert not set(one.addresses) & set(other.addresses)
        assert not [a for a, b in zip(one.pod_ranges, other.pod_ranges, strict=True) if a.overlaps(b)]


def test_everything_of_a_node_lies_in_the_ranges_of_the_cluster() -> None:
    for node in layout.nodes(layout.MOST_NODES):
        assert all(own in network for own, network in zip(node.addresses, layout.HOSTS, strict=True))
        assert all(own.subnet_of(network) for own, network in zip(node.pod_ranges, layout.PODS, strict=True))  # type: ignore[arg-type]


def test_hosts_pods_and_services_are_told_apart_by_their_addresses() -> None:
    for networks in zip(layout.HOSTS, layout.PODS, layout.SERVICES, strict=True):
        assert not [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]


def test_the_control_plane_is_no_node() -> None:
    assert not {address for node in layout.nodes(layout.MOST_NODES) for address in node.addresses} & set(layout.CONTROL)
