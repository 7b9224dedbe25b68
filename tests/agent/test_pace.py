"""Hours of waiting in no time: when a reconcile is due."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.agent.pace import Pace

DUST = 1e-9


def test_the_first_reconcile_is_due_at_once():
    assert Pace(1.0, 30.0).wait(0.0) == 0.0


def test_a_want_is_served_at_once_when_the_last_one_is_long_ago():
    pace = Pace(1.0, 30.0)
    pace.started()
    pace.ended(100.0, fine=True)
    pace.want()
    assert pace.wait(105.0) == 0.0


def test_two_reconciles_are_at_least_the_least_apart():
    pace = Pace(1.0, 30.0)
    pace.started()
    pace.ended(100.0, fine=True)
    pace.want()
    assert pace.wait(100.25) == 0.75


def test_without_a_want_the_regular_look_comes_after_the_most():
    pace = Pace(1.0, 30.0)
    pace.started()
    pace.ended(100.0, fine=True)
    assert pace.wait(110.0) == 20.0
    assert pace.wait(131.0) == 0.0


def test_what_changes_during_a_reconcile_wants_another():
    pace = Pace(0.0, 30.0)
    pace.started()
    pace.want()
    pace.ended(100.0, fine=True)
    assert pace.wait(100.0) == 0.0


def test_failures_are_tried_again_later_and_later_up_to_the_most():
    pace, now, waits = Pace(0.0, 30.0), 0.0, []
    for _ in range(16):
        pace.started()
        pace.ended(now, fine=False)
        waits.append(pace.wait(now))
        now += waits[-1]
    assert waits[0] <= 0.2
    assert all(one <= other for one, other in pairwise(waits))
    assert waits[-1] == pytest.approx(30.0)


def test_a_want_does_not_shorten_the_wait_after_a_failure():
    pace = Pace(0.0, 30.0)
    for _ in range(8):
        pace.started()
        pace.ended(0.0, fine=False)
    before = pace.wait(0.0)
    pace.want()
    assert pace.wait(0.0) == before > 5.0


def test_after_a_success_nothing_is_left_of_the_failures():
    pace = Pace(0.0, 30.0)
    for _ in range(8):
        pace.started()
        pace.ended(0.0, fine=False)
    pace.started()
    pace.ended(50.0, fine=True)
    pace.want()
    assert pace.wait(50.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["want", "fine", "failed"]), st.floats(0, 100)), max_size=40))
def test_every_want_is_served_within_the_most_and_never_too_early(steps: list[tuple[str, float]]):
    pace, now = Pace(0.5, 30.0, wanted=False), 0.0
    for what, pause in steps:
        now += pause
        if what == "want":
            pace.want()
        else:
            pace.started()
            pace.ended(now, fine=what == "fine")
        wait = pace.wait(now)
        assert 0.0 <= wait <= 30.0 + DUST
        assert now + wait >= pace.last + 0.5 - DUST
