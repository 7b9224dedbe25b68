"""What includes what: checked against every label set and every address of small worlds."""

from collections.abc import Iterator
from ipaddress import ip_network
from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from build import block, port, select
from vallum.analysis.lint.covers import Networks, block_in, implies, peer_in, port_in
from vallum.model.address import Packed, span
from vallum.model.objects import NAME_LABEL, TCP, UDP, Block, Peer, PolicyPort
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.policy.selectors import matches

VALUES = ("a", "b", "c")
OWN = {NAME_LABEL: "shop", "team": "shop"}


def requirements() -> Iterator[Requirement]:
    for key in ("app", "tier"):
        for count in (1, 2):
            for values in combinations(VALUES, count):
                yield Requirement(key, Operator.IN, values)
                yield Requirement(key, Operator.NOT_IN, values)
        yield Requirement(key, Operator.EXISTS)
        yield Requirement(key, Operator.DOES_NOT_EXIST)


LABELS = [
    {key: value for key, value in (("app", app), ("tier", tier)) if value}
    for app, tier in product((*VALUES, "d", None), repeat=2)
]
selectors = st.lists(st.sampled_from(list(requirements())), max_size=3).map(lambda found: Selector(tuple(found)))


@given(selectors, selectors)
def test_a_selector_that_implies_another_matches_no_more(narrow: Selector, wide: Selector) -> None:
    if implies(narrow, wide):
        assert all(matches(wide, labels) for labels in LABELS if matches(narrow, labels))


def test_single_requirements_imply_each_other_exactly_where_they_match_no_more() -> None:
    for one, other in product(requirements(), repeat=2):
        narrow, wide = Selector((one,)), Selector((other,))
        includes = all(matches(wide, labels) for labels in LABELS if matches(narrow, labels))
        assert implies(narrow, wide) == includes, (one, other)


NETWORKS = [
    ip_network(f"10.0.0.{first}/{length}") for length in range(28, 33) for first in range(0, 16, 1 << (32 - length))
]
blocks = st.tuples(st.sampled_from(NETWORKS), st.lists(st.sampled_from(NETWORKS), max_size=2))


def addresses(found: Block) -> set[int]:
    first, last = span(found.network)
    cut = {address for network in found.excepts for address in range(span(network)[0], span(network)[1] + 1)}
    return set(range(first, last + 1)) - cut


@given(
    blocks.map(lambda found: Block(found[0], tuple(found[1]))),
    blocks.map(lambda found: Block(found[0], tuple(found[1]))),
)
def test_a_block_that_lies_in_another_has_no_other_addresses(narrow: Block, wide: Block) -> None:
    if block_in(narrow, wide):
        assert addresses(narrow) <= addresses(wide)


def test_blocks_without_exceptions_include_each_other_exactly() -> None:
    for one, other in product(NETWORKS, repeat=2):
        assert block_in(Block(one), Block(other)) == (addresses(Block(one)) <= addresses(Block(other)))


def test_networks_around_one_are_those_that_include_it() -> None:
    known = Networks(NETWORKS)
    for network in NETWORKS:
        assert set(known.around(network)) == {other for other in NETWORKS if network.subnet_of(other)}
    assert not [*known.around(ip_network("::/0"))]
    assert Packed(span(ip_network("::/0"))[0]) > span(NETWORKS[0])[1]


def test_peers_of_the_own_namespace_lie_in_those_that_select_it() -> None:
    here = Peer(pods=select(app="web"))
    assert peer_in(here, Peer(pods=EVERYTHING), OWN)
    assert peer_in(here, Peer(namespaces=EVERYTHING), OWN)
    assert peer_in(here, Peer(pods=select(app="web"), namespaces=select(team="shop")), OWN)
    assert not peer_in(here, Peer(namespaces=select(team="other")), OWN)
    assert peer_in(Peer(namespaces=Selector((Requirement(NAME_LABEL, Operator.IN, ("shop",)),))), Peer(EVERYTHING), OWN)
    assert not peer_in(Peer(namespaces=EVERYTHING), Peer(pods=EVERYTHING), OWN)


def test_pods_and_blocks_never_include_each_other() -> None:
    assert not peer_in(Peer(pods=EVERYTHING), block("0.0.0.0/0"), OWN)
    assert not peer_in(block("10.0.0.1/32"), Peer(namespaces=EVERYTHING), OWN)


def test_ports_lie_in_ranges_and_whole_protocols_of_their_own() -> None:
    assert port_in(port(80), port(1, 100))
    assert port_in(port("http"), PolicyPort(TCP))
    assert not port_in(port(80), PolicyPort(UDP))
    assert not port_in(port("http"), port(1, 65535))
    assert not port_in(port(1, 100), port(80))
