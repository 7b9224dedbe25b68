"""Splitting networks along trees, and every layout that cannot be meant."""

from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.layouts import KUBEADM, RACKS, ZONES, layout, leaf, network, split
from vallum.ipam import own, romana
from vallum.ipam.records import Group
from vallum.ipam.topology import default_block_mask, padded, slots, spots, trimmed
from vallum.model.errors import InputError


def tree_of(document: dict[str, Any], name: str) -> list[tuple[str, str, bool]]:
    found = romana.read(document)
    one = next(each for each in found.networks if each.name == name)
    tree = next(each for each in found.topologies if name in each.networks)
    return [(spot.group.label(), str(spot.cidr), spot.group.spare) for spot in spots(one.cidr, tree.groups)]


def test_three_racks_are_four_ranges_and_the_last_is_spare() -> None:
    assert tree_of(RACKS, "dc") == [
        ("a", "172.28.0.0/20", False),
        ("b", "172.28.16.0/20", False),
        ("c", "172.28.32.0/20", False),
        ("", "172.28.48.0/20", True),
    ]


def test_two_zones_of_two_racks_each_have_a_range_inside_of_their_zone() -> None:
    assert [cidr for _, cidr, _ in tree_of(ZONES, "prod")] == [
        "10.64.0.0/15", "10.64.0.0/16", "10.65.0.0/16", "10.66.0.0/15", "10.66.0.0/16", "10.67.0.0/16",
    ]  # fmt: skip
    assert tree_of(ZONES, "lab") == [("bench", "192.168.200.0/22", False)]


def test_the_kubeadm_shape_is_eight_open_ranges() -> None:
    assert [cidr for _, cidr, spare in tree_of(KUBEADM, "romana-network") if not spare] == [
        f"10.{112 + 2 * number}.0.0/15" for number in range(8)
    ]


@given(st.integers(4, 24), st.integers(1, 9))
def test_siblings_are_of_one_size_lie_side_by_side_and_fill_their_parent(prefix: int, count: int) -> None:
    whole = ip_network((10 << 24, prefix), strict=False)
    cidrs = [spot.cidr for spot in spots(whole, padded([leaf()] * count))]
    assert len(cidrs) == slots(count) >= count
    assert len({cidr.prefixlen for cidr in cidrs}) == 1
    assert (cidrs[0][0], cidrs[-1][-1]) == (whole[0], whole[-1])
    assert all(one[-1] + 1 == other[0] for one, other in pairwise(cidrs))


GROUPS = st.recursive(
    st.builds(Group, name=st.sampled_from("ab")) | st.just(Group(spare=True)),
    lambda below: st.builds(Group, groups=st.lists(below, min_size=1, max_size=5).map(tuple)),
    max_leaves=12,
)


@given(st.lists(GROUPS, max_size=6))
def test_what_is_trimmed_is_padded_to_the_same_tree_again(groups: list[Group]) -> None:
    whole = padded(groups)
    assert padded(trimmed(whole)) == whole
    assert padded(whole) == whole


@pytest.mark.parametrize(
    ("cidr", "mask"), [("10.0.0.0/8", 29), ("10.0.0.0/30", 30), ("fd00::/64", 122), ("fd00::/126", 126)]
)
def test_the_default_block_mask_is_29_or_122_or_the_networks_own_if_longer(cidr: str, mask: int) -> None:
    assert default_block_mask(ip_network(cidr)) == mask


def test_an_empty_group_list_and_a_single_group_take_the_whole_range() -> None:
    found = layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(groups=(leaf("in"),))))
    assert [str(spot.cidr) for spot in spots(found.networks[0].cidr, found.topologies[0].groups)] == ["10.0.0.0/24"] * 2


def net(name: str = "n", cidr: str = "10.0.0.0/24", **more: Any) -> dict[str, Any]:
    return {"name": name, "cidr": cidr, **more}


def top(*groups: Any, of: tuple[str, ...] = ("n",)) -> dict[str, Any]:
    return {"networks": list(of), "map": list(groups)}


OPEN: dict[str, Any] = {"groups": []}


@pytest.mark.parametrize(
    ("networks", "topologies", "error"),
    [
        ([net(), net(cidr="10.1.0.0/24")], [], "Network n: stands twice; give each a name of its own"),
        ([net(cidr="10.0.0.0")], [], None),
        (
            [net(cidr="10.0.0/24")],
            [],
            "networks[0].cidr: '10.0.0/24' is no range of addresses; write one such as 10.0.0.0/16",
        ),
        (
            [net(cidr="10.0.0.3/24")],
            [],
            "networks[0].cidr: 10.0.0.3/24 has host bits set; write 10.0.0.0/24, or the range that you mean",
        ),
        ([net(block_mask=23)], [], "Network n blockMask: 23 is out of range; 10.0.0.0/24 allows 24 to 32"),
        ([net(block_mask=33)], [], "Network n blockMask: 33 is out of range; 10.0.0.0/24 allows 24 to 32"),
        ([net(block_mask="29")], [], "networks[0].block_mask: is the string '29'; write a whole number"),
        (
            [net(tenants=["ok", "not ok"])],
            [],
            "Network n tenants: 'not ok' is no tenant; use letters, digits, '_' and '-'",
        ),
        (
            [net(), net("m", "10.0.0.128/25")],
            [],
            "Network m cidr: 10.0.0.128/25 overlaps 10.0.0.0/24 of network n; no two networks may share an address",
        ),
        (
            [net()],
            [top(OPEN), top(OPEN)],
            "Topology n: stands twice; give each a name of its own",
        ),
        (
            [net(), net("m", "10.1.0.0/24")],
            [top(OPEN), top(OPEN, of=("m", "n"))],
            "Topology m networks: n is split by topology n already; leave it out of one",
        ),
        ([net()], [top(OPEN, of=("other",))], "Topology other networks: no network is named other; networks are: n"),
        ([net()], [top()], "Topology n map: is empty; one group that is open for hosts is [{groups: []}]"),
        (
            [net()],
            [top({"groups": [{"ip": "192.0.2.1"}]})],
            "topologies[0].map[0].groups[0].name: is missing for the host 192.0.2.1; add one",
        ),
        (
            [net()],
            [top({"groups": [{"ip": "192.0.2.1", "name": "h"}, OPEN]})],
            "topologies[0].map[0]: has groups and hosts side by side; a group holds either",
        ),
        (
            [net()],
            [top({"groups": [{"ip": "192.0.2.1", "name": "h"}]}, {"groups": [{"ip": "192.0.2.1", "name": "i"}]})],
            "Topology n map: the host 192.0.2.1 stands twice; leave one out",
        ),
        ([net()], [top({"group": []})], "topologies[0].map[0].group: is no field here; did you mean groups?"),
        (
            [net()],
            [top({"assignment": {"rack": 1}})],
            "topologies[0].map[0].assignment.rack: is the number 1; write a string",
        ),
        (
            [net(cidr="10.0.0.0/31", block_mask=32)],
            [top(OPEN, OPEN, OPEN)],
            (
                "Topology n map: 4 groups do not fit into 10.0.0.0/31, a group of network n; "
                "take a larger network or fewer groups"
            ),
        ),
        ([{"cidr": "10.0.0.0/24"}], [], "networks[0].name: is missing; write a string"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused_by_object_and_field(
    networks: list[Any], topologies: list[Any], error: str | None
) -> None:
    document = {"networks": networks, "topologies": topologies}
    if error is None:
        assert romana.read(document).networks[0].cidr.prefixlen == 32
        return
    with pytest.raises(InputError) as raised:
        romana.read(document)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("documents", "error"),
    [
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "reserved": ["10.1.0.0/30"]})],
            "Network n reserved: 10.1.0.0/30 lies outside of 10.0.0.0/24; leave it out",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "gateway": "10.1.0.1"})],
            "Network n gateway: 10.1.0.1 lies outside of 10.0.0.0/24",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "encapsulation": "sometimes"})],
            "Network n encapsulation: 'sometimes' is not known; write one of always, cross-subnet, never",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "mtu": 1279})],
            "Network n mtu: 1279 is out of range; it can be 1280 to 65535 bytes",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "blocks": "pod"})],
            "Network n blocks: 'pod' is not known; write host or tenant",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24", "spill": True})],
            "Network n spill: says what listed tenants may do, and it lists none; add tenants or leave it out",
        ),
        (
            [("Network", "n", {"cidr": "10.0.0.0/24"}), ("Blackout", "b", {"cidr": "10.0.0.0/24"})],
            "Blackout 10.0.0.0/24: is all of network n; name a part of it, or remove the network",
        ),
        ([("Blackout", "b", {"cidr": "10.0.0.0/25"})], "Blackout 10.0.0.0/25: lies in no network; networks are: none"),
        (
            [
                ("Network", "n", {"cidr": "10.0.0.0/24"}),
                ("Topology", "t", {"networks": ["n"], "map": [{"hostPrefix": 20}]}),
            ],
            "Topology t map[0].hostPrefix: 20 is out of range; 10.0.0.0/24 of network n allows 24 to 32",
        ),
        (
            [
                ("Network", "n", {"cidr": "10.0.0.0/24"}),
                ("Topology", "t", {"networks": ["n"], "map": [{"hostPrefix": 26, "groups": [{}]}]}),
            ],
            "Topology t map[0].hostPrefix: belongs to a group that is open for hosts: one with groups: []",
        ),
        ([("Netwrok", "n", {})], "document 1 kind: 'Netwrok' is none of Network, Topology, Blackout"),
        (
            [
                (
                    "Network",
                    "n",
                    {"cidr": "10.0.0.0/24", "nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
                )
            ],
            (
                "Network n nodeSelector.matchExpressions[0].operator: "
                "write one of In, NotIn, Exists, DoesNotExist ('Is' is not a valid Operator)"
            ),
        ),
    ],
)
def test_our_own_form_is_as_strict(documents: list[tuple[str, str, Any]], error: str) -> None:
    whole = [
        {"apiVersion": own.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, name, spec in documents
    ]
    with pytest.raises(InputError) as raised:
        own.read(whole)
    assert str(raised.value) == error


def test_a_block_never_reaches_over_two_groups() -> None:
    with pytest.raises(InputError, match=r"Topology n map\[0\]: a block of network n \(/29\) is larger than"):
        layout([network("n", "10.0.0.0/29")], split("n", ["n"], leaf(), leaf()))
    inner = Group(groups=(leaf(), leaf()))
    with pytest.raises(InputError, match=r"Topology n map\[1\]\.groups\[0\]: .* larger than 10\.0\.0\.8/30 of"):
        layout([network("n", "10.0.0.0/28")], split("n", ["n"], leaf(), inner))
