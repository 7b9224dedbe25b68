"""Port classes tell apart exactly what some row tells apart, and never mix protocols."""

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
_ROW = st.dictionaries(st.sampled_from("pq"), st.none() | st.frozensets(_MATCH, max_size=3), max_size=2)
_VALUES = [(protocol, port) for protocol in (TCP, UDP, SCTP) for port in (*_EDGES, 2, 100, 50000)]
Rows = list[dict[str, frozenset[PortMatch] | None]]


@given(st.lists(_ROW, max_size=4))
def test_a_row_allows_a_port_exactly_when_it_allows_its_class(rows: Rows):
    classes = port_classes(rows)
    for matches in (matches for row in rows for matches in row.values() if matches is not None):
        allowed = classes.of(matches)
        assert allowed is not None
        for protocol, port in _VALUES:
            expected = any(covers(match, protocol, port) for match in matches)
            assert (classes.find(protocol, port) in allowed) == expected, (protocol, port)


@given(st.lists(_ROW, max_size=4))
def test_two_ports_of_one_class_are_alike_in_every_row(rows: Rows):
    classes = port_classes(rows)
    alike: dict[int, set[tuple[bool, ...]]] = {}
    cells = [matches for row in rows for matches in row.values() if matches is not None]
    for protocol, port in _VALUES:
        fits = tuple(any(covers(match, protocol, port) for match in matches) for matches in cells)
        alike.setdefault(classes.find(protocol, port), set()).add(fits)
    assert all(len(found) == 1 for found in alike.values())


@given(st.lists(_ROW, max_size=4))
def test_classes_written_back_as_ranges_cover_what_they_came_from(rows: Rows):
    classes = port_classes(rows)
    for matches in (matches for row in rows for matches in row.values() if matches is not None):
        allowed = classes.of(matches)
        assert allowed is not None
        written = classes.matches(allowed)
        for protocol, port in _VALUES:
            assert any(covers(one, protocol, port) for one in written) == any(
                covers(one, protocol, port) for one in matches
            )


def test_a_portless_protocol_is_in_no_class_that_ports_make():
    classes = port_classes([{"p": frozenset({PortMatch(TCP, 0, 65535)})}])
    assert classes.find(1, 0) == PORTLESS
    assert classes.find(UDP, 80) == PORTLESS
    assert classes.find(TCP, 0) != PORTLESS


def test_everything_stays_everything():
    assert port_classes([]).of(None) is None
