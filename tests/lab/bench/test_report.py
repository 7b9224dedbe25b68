"""The common form of results."""

import pytest

from vallum.lab.bench.report import goal, goals_text, lay, none_of
from vallum.lab.bench.stats import Interval


def test_columns_are_as_wide_as_their_widest_cell_with_figures_on_the_right():
    assert lay([["what", "us"], ["a", "1000"]]) == "what    us\na     1000"


@pytest.mark.parametrize(("count", "says"), [(0, "met"), (1, "not met")])
def test_something_that_must_never_happen_is_met_by_none_only(count: int, says: str):
    assert none_of("failed requests", count).says == says


def test_a_goal_stands_with_value_interval_limit_and_judgement():
    line = goals_text("Goals", [goal("flat", Interval(1.01, 1.0, 1.02), 1.05)]).splitlines()[-1]
    assert line.split() == ["flat", "1.010", "1.000-1.020", "1.05", "met"]
