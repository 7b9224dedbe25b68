"""The bench of the compiler measures what it says: every figure is there, limits are limits, growth is an exponent."""

from dataclasses import replace

import pytest

from vallum.lab.bench.crowd import Size, crowd
from vallum.lab.bench.engine import (
    CHANGES,
    EXPLAIN,
    FOLDER,
    GROWTH,
    LARGE,
    LIMITS,
    LINT,
    LOAD,
    MATRIX,
    MEMORY,
    MIDDLE,
    PER_POD,
    POD,
    SELECTORS,
    SMALL,
    Row,
    exponent,
    judged,
    linted,
    measured,
    text,
)
from vallum.model.objects import Pod, Policy

TINY = Size(220, 4, 40)


def row(size: Size, what: str, value: float) -> Row:
    return Row(size.pods, size.policies, size.unique, what, "ms", 9, value, value, value)


def full(value: float) -> list[Row]:
    """Rows of all sizes, each figure this at the large one and in proportion at the others."""
    whats = {*LIMITS, *GROWTH}
    sizes = ((SMALL, 0.01), (MIDDLE, 0.1), (LARGE, 1.0))
    found = [row(size, what, value * share) for size, share in sizes for what in whats]
    return [*found, row(MIDDLE, MATRIX, value), row(FOLDER, LINT, value)]


def test_the_same_size_is_the_same_world_and_unique_labels_are_unique():
    assert crowd(TINY) == crowd(TINY)
    shared = {thing.labels for thing in crowd(TINY) if isinstance(thing, Pod)}
    unique = {thing.labels for thing in crowd(replace(TINY, unique=True)) if isinstance(thing, Pod)}
    assert (len(shared), len(unique)) == (22, 220)
    assert sum(isinstance(thing, Policy) for thing in crowd(TINY)) == 40


def test_every_figure_of_a_size_is_measured_and_the_engine_is_compared_with_a_new_one():
    rows = measured(TINY, 3)
    assert {one.what for one in rows} == {LOAD, SELECTORS, EXPLAIN, MEMORY, PER_POD, *CHANGES}
    assert all(one.low <= one.median <= one.high for one in rows)
    assert all(one.median > 0 for one in rows if one.unit == "ms")


def test_a_folder_is_linted_by_the_command_itself():
    (found,) = linted(Size(0, 2, 4), 1)
    assert found.what == LINT
    assert found.median > 50, "a process was started"


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_growth_is_the_exponent_of_the_cost(power: float):
    rows = [row(size, POD, 3 * (size.pods / 1000) ** power) for size in (SMALL, MIDDLE, LARGE)]
    assert exponent(rows, POD) == pytest.approx(power)


def test_a_goal_is_met_only_where_the_figure_is_within_its_limit():
    quick, slow = judged(full(1.5)), judged(full(10**5))
    named = {one.goal.partition(", ms")[0]: one.met for one in quick.goals}
    assert named[POD]
    assert not named[f"growth of {POD}"], "it grew in proportion, and may not"
    assert not any(one.met for one in slow.goals if "growth" not in one.goal)
    assert "load and compile one node" in text(quick)
