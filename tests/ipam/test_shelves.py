"""The indexes against the plain sets that they stand for."""

from hypothesis import given
from hypothesis import strategies as st

from vallum.ipam.pick import NEVER, Spans, longest_free
from vallum.ipam.records import Block
from vallum.ipam.shelves import Runs, Shelf
from vallum.model.address import Packed, parse

NUMBERS = st.integers(0, 20)
FIRST = parse("10.0.0.0")


@given(st.lists(st.tuples(st.booleans(), NUMBERS), max_size=60))
def test_runs_are_a_set_that_knows_its_gaps(acts: list[tuple[bool, int]]) -> None:
    runs, plain = Runs(), set[int]()
    for add, number in acts:
        (runs.add if add else runs.discard)(number)
        (plain.add if add else plain.discard)(number)
    for number in range(25):
        assert (number in runs) == (number in plain)
        assert runs.past(number) == next(each for each in range(number, 50) if each not in plain)


@given(st.lists(st.tuples(NUMBERS, NUMBERS).map(sorted), max_size=8), NUMBERS, NUMBERS)
def test_spans_are_the_addresses_of_all_their_ranges(ranges: list[list[int]], low: int, high: int) -> None:
    spans = Spans((Packed(first), Packed(last)) for first, last in ranges)
    plain = {number for first, last in ranges for number in range(first, last + 1)}
    for number in range(25):
        last = next(each for each in range(number, 50) if each not in plain) - 1
        assert spans.end_of(Packed(number)) == (last if number in plain else None)
    inside = [number for first, last in spans.inside(Packed(low), Packed(high)) for number in range(first, last + 1)]
    assert inside == sorted(plain & set(range(low, high + 1)))


@given(
    st.dictionaries(st.integers(0, 15), st.just("p")),
    st.dictionaries(st.integers(0, 15), st.floats(0, 9)),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)).map(sorted), max_size=2),
    st.sets(st.integers(0, 15), max_size=2),
)
def test_the_address_that_is_free_longest_is_found(
    used: dict[int, str], freed: dict[int, float], closed: list[list[int]], strays: set[int]
) -> None:
    freed = {offset: at for offset, at in freed.items() if offset not in used}
    block = Block(network="n", first=FIRST, mask=28, used=used, freed=freed)
    spans = Spans((Packed(FIRST + first), Packed(FIRST + last)) for first, last in closed)
    shut = {offset for first, last in closed for offset in range(first, last + 1)} | strays | used.keys()
    free = sorted((freed.get(offset, NEVER), offset) for offset in range(16) if offset not in shut)
    found = longest_free(block, spans, {FIRST + offset for offset in strays})
    assert found == (free[0] if free else None)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, NEVER, 0.0, 5.0, 40.0, 70.0])), max_size=30))
def test_a_shelf_forgets_no_block_that_has_something_to_give(notes: list[tuple[int, float | None]]) -> None:
    shelf, now = Shelf(), 75.0
    since: dict[Packed, float | None] = {}
    for number, at in notes:
        since[Packed(number)] = at
        shelf.note(Packed(number), at)
    rested = sorted(block for block, at in since.items() if at is not None and at + 30 <= now)
    assert shelf.rested(now, since.get) == (rested[0] if rested else None)
    if not rested:
        resting = sorted(at for at in since.values() if at is not None)
        found = shelf.longest(since.get)
        assert (found and found[0]) == (resting[0] if resting else None)
