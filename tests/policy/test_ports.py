"""Port classes tell apart exactly what some rule tells apart, and never mix protocols."""

from hypothesis import given
from hypothesis import strategies as st

from vallum.model.objects import SCTP, TCP, UDP
from vallum.policy.judge import covers
from vallum.policy.ports import PORTLESS, port_classes
from vallum.policy.ruleset import PortMatch

_EDGES = (0, 1, 79, 80, 81, 90, 443, 65534, 65535)
_MATCH = st.builds(
    lambda protocol, one, other: PortMatch(protocol, min(one, other), max(one, other)),
    st.sampled_from((TCP, UDP, SCTP)),
    st.sampled_from(_EDGES),
    st.sampled_from(_EDGES),
)
_ASKED = st.lists(st.frozensets(_MATCH, max_size=3), max_size=6)
_VALUES = [(protocol, port) for protocol in (TCP, UDP, SCTP) for port in (*_EDGES, 2, 100, 50000)]
Asked = list[frozenset[PortMatch]]


@given(_ASKED)
def test_matches_cover_a_port_exactly_when_they_cover_its_class(asked: Asked):
    classes = port_classes(asked)
    for matches in asked:
        allowed = classes.of(matches)
        assert allowed is not None
        for protocol, port in _VALUES:
            expected = any(covers(match, protocol, port) for match in matches)
            assert (classes.find(protocol, port) in allowed) == expected, (protocol, port)


@given(_ASKED)
def test_two_ports_of_one_class_are_alike_to_all_who_ask(asked: Asked):
    classes = port_classes(asked)
    alike: dict[int, set[tuple[bool, ...]]] = {}
    for protocol, port in _VALUES:
        fits = tuple(any(covers(match, protocol, port) for match in matches) for matches in asked)
        alike.setdefault(classes.find(protocol, port), set()).add(fits)
    assert all(len(found) == 1 for found in alike.values())


@given(_ASKED)
def test_classes_written_back_as_ranges_cover_what_they_came_from(asked: Asked):
    classes = port_classes(asked)
    for matches in asked:
        allowed = classes.of(matches)
        assert allowed is not None
        written = classes.matches(allowed)
        for protocol, port in _VALUES:
            assert any(covers(one, protocol, port) for one in written) == any(
                covers(one, protocol, port) for one in matches
            )


def test_a_portless_protocol_is_in_no_class_that_ports_make():
    classes = port_classes([frozenset({PortMatch(TCP, 0, 65535)})])
    assert classes.find(1, 0) == PORTLESS
    assert classes.find(UDP, 80) == PORTLESS
    assert classes.find(TCP, 0) != PORTLESS


def test_everything_stays_everything():
    assert port_classes([]).of(None) is None
