"""The index of kinds says what looking at every pod would say, whatever came and went before."""

from hypothesis import given
from hypothesis import strategies as st

from build import pod
from vallum.model.address import parse
from vallum.model.objects import TCP, UDP, NamedPort, Pod, PodId
from vallum.model.selector import Operator, Requirement, Selector
from vallum.policy.index import Index
from vallum.policy.selectors import matches

Walk = tuple[Index, dict[PodId, Pod]]
_LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from("abc"))
_PORTS = st.sampled_from([(), (NamedPort("http", TCP, 80),), (NamedPort("http", UDP, 81), NamedPort("", TCP, 9))])
_PODS = st.builds(
    lambda name, last, carried, ports, out, created: pod(
        name, f"10.0.0.{last}", ports=ports, host_network=out == 1, finished=out == 2, created=created, **carried
    ),
    st.sampled_from([f"{space}/{number}" for space in "rs" for number in range(4)]),
    st.integers(1, 5),
    _LABELS,
    _PORTS,
    st.integers(0, 4),
    st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)
_REQUIREMENTS = st.builds(
    Requirement,
    st.sampled_from(["app", "tier"]),
    st.sampled_from(list(Operator)),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=2).map(tuple),
)
_SELECTORS = st.lists(_REQUIREMENTS, max_size=2).map(lambda found: Selector(tuple(found)))


def walked(steps: list[tuple[Pod, bool]]) -> Walk:
    """An index after pods were put and taken away, and the pods that are left."""
    index, left = Index(by_names=True), dict[PodId, Pod]()
    for one, gone in steps:
        before = left.pop(one.id, None)
        if not gone:
            left[one.id] = one
        index.update([(before, left.get(one.id))])
    return index, left


def owners(pods: dict[PodId, Pod]) -> dict[int, Pod]:
    """The newest living pod of each address (stance 7), by the plainest way."""
    living = [one for one in pods.values() if not one.finished and not one.host_network]
    ranked = sorted(living, key=lambda one: (one.created, one.id))
    return {parse(str(address)): one for one in ranked for address in one.addresses}


_WALKS = st.lists(st.tuples(_PODS, st.booleans()), max_size=25).map(walked)


@given(_WALKS)
def test_every_address_belongs_to_the_newest_living_pod_that_claims_it(walk: Walk):
    index, pods = walk
    assert dict(index.people.owners) == owners(pods)
    for one in pods.values():
        mine = {address for address, owner in owners(pods).items() if owner.id == one.id}
        assert set(index.addresses(one)) == mine


@given(_WALKS, _SELECTORS, st.sampled_from("rs"))
def test_a_selector_means_the_kinds_of_the_pods_that_it_matches(walk: Walk, selector: Selector, namespace: str):
    index, pods = walk
    chosen = index.select(selector, index.space(namespace))
    found = {address for number in chosen for address in index.people.members[number]}
    assert found == {
        address
        for address, one in owners(pods).items()
        if one.id.namespace == namespace and matches(selector, dict(one.labels))
    }


@given(_WALKS)
def test_nothing_is_kept_of_kinds_that_died(walk: Walk):
    index, pods = walk
    alive = {(one.id.namespace, one.labels, one.ports) for one in owners(pods).values()}
    assert set(index.kinds.values()) == alive
    assert set(index.people.members) == set(index.kinds)
    assert sum(map(len, index.people.members.values())) == len(index.people.kinds) == len(owners(pods))


@given(_WALKS)
def test_a_named_port_is_found_under_each_number_that_a_kind_gives_it(walk: Walk):
    index, pods = walk
    for protocol in (TCP, UDP):
        found = {number: set(kinds) for number, kinds in index.named("http", protocol).items() if kinds}
        expected: dict[int, set[int]] = {}
        for one in owners(pods).values():
            for port in one.ports:
                if (port.name, port.protocol) == ("http", protocol):
                    expected.setdefault(port.number, set()).add(index.number(one))
        assert found == expected


def test_what_was_handed_out_does_not_change_when_pods_come_and_go():
    index = Index(by_names=False)
    one = pod("r/1", "10.0.0.1", app="a")
    index.update([(None, one)])
    people = index.people
    index.update([(one, None)])
    assert dict(people.owners) == {parse("10.0.0.1"): one}
    assert dict(index.people.owners) == {}


def test_a_pod_without_an_address_counts_by_name_only_where_names_count():
    nameless = pod("r/1", app="a")
    for by_names in (True, False):
        index = Index(by_names=by_names)
        index.update([(None, nameless)])
        assert len(index.addresses(nameless)) == by_names
