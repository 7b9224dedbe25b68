"""Overlapping ranges come out disjoint, sorted, and covered by exactly the sets that cover them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vallum.model.address import Packed
from vallum.policy.spans import Span, cut

_SPAN = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda pair: (Packed(pair[0]), Packed(sum(pair))))


def _disjoint(spans: list[Span]) -> tuple[Span, ...]:
    """A set's own spans never overlap: blocks are cut by their exceptions only."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if not found or low > found[-1][1]:
            found.append((low, high))
    return tuple(found)


_SETS = st.dictionaries(st.sampled_from("abcd"), st.lists(_SPAN, max_size=4).map(_disjoint), max_size=4)


@given(_SETS)
def test_each_point_is_covered_by_the_sets_that_hold_it(sets: dict[str, tuple[Span, ...]]):
    pieces = cut(sets)
    for point in range(45):
        covering = {name for name, spans in sets.items() if any(low <= point <= high for low, high in spans)}
        found = [ids for (low, high), ids in pieces if low <= point <= high]
        assert found == ([covering] if covering else []), point


@given(_SETS)
def test_pieces_are_sorted_and_do_not_touch_twice(sets: dict[str, tuple[Span, ...]]):
    pieces = [span for span, _ in cut(sets)]
    assert all(low <= high for low, high in pieces)
    assert all(one[1] < other[0] for one, other in pairwise(pieces))


def test_neighbours_without_a_gap_stay_apart_when_other_sets_cover_them():
    assert cut({"a": ((Packed(1), Packed(5)),), "b": ((Packed(6), Packed(9)),)}) == [
        ((1, 5), frozenset("a")),
        ((6, 9), frozenset("b")),
    ]
