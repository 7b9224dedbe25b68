"""Properties of the ratios, and the judgement of goals."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.lab.bench.stats import Interval, Met, _rank_cut, judge, paired_ratio, quantile, summary

times = st.floats(1, 1e6, allow_nan=False)
rounds = st.lists(st.lists(times, min_size=1, max_size=5), min_size=1, max_size=12)


@given(rounds, st.randoms(use_true_random=False))
def test_the_ratio_always_lies_within_its_interval(base: list[list[float]], rng: Random):
    other = [[time * rng.uniform(0.5, 2) for time in one] for one in base]
    found = paired_ratio(other, base)
    assert found.low <= found.value <= found.high


@given(rounds, st.floats(0.1, 10))
def test_a_constant_factor_between_partners_is_found_exactly(base: list[list[float]], factor: float):
    found = paired_ratio([[time * factor for time in one] for one in base], base)
    assert found.value == pytest.approx(factor)
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)


@given(rounds, st.floats(0.01, 100))
def test_the_unit_of_time_does_not_matter(base: list[list[float]], unit: float):
    other = [[time + 1 for time in one] for one in base]
    scaled = paired_ratio([[t * unit for t in one] for one in other], [[t * unit for t in one] for one in base])
    found = paired_ratio(other, base)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((found.value, found.low, found.high))


@given(st.lists(times, min_size=1, max_size=50))
def test_a_summary_is_ordered_and_within_the_times(values: list[float]):
    found = summary(values)
    assert found.count == len(values)
    assert min(values) <= found.median <= found.p99 <= max(values)
    assert quantile(values, 0) == min(values)
    assert quantile(values, 1) == max(values)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_drift_that_both_partners_share_does_not_widen_the_interval(rng: Random):
    drift = [rng.uniform(1, 10) for _ in range(20)]
    base = [[100 * d for _ in range(3)] for d in drift]
    other = [[105 * d * rng.uniform(0.999, 1.001) for _ in range(3)] for d in drift]
    found = paired_ratio(other, base)
    assert found.high < 1.07 or found.value > found.high - 1e-9


def test_the_interval_holds_the_truth_in_at_least_nine_of_ten_noisy_runs():
    rng = Random(7)
    hits = 0
    for _ in range(200):
        base = [[100 * rng.lognormvariate(0, 0.1)] for _ in range(20)]
        other = [[103 * rng.lognormvariate(0, 0.1)] for _ in range(20)]
        found = paired_ratio(other, base)
        hits += found.low <= 1.03 <= found.high
    assert hits >= 180


def test_rank_cuts_are_those_of_the_published_signed_rank_table():
    # two-sided 5 %: critical values T for n = 6, 10, 20, 30 are 0, 8, 52, 137; the cut is one more
    assert [_rank_cut(n) for n in (5, 6, 10, 20, 30)] == [0, 1, 9, 53, 138]


def test_the_approximation_for_many_rounds_meets_the_exact_law():
    assert abs(_rank_cut(51) - _rank_cut(50)) <= 25
    assert _rank_cut(50) == 435  # T = 434


def test_too_few_rounds_give_everything_that_was_seen():
    found = paired_ratio([[1.0], [2.0], [4.0]], [[1.0], [1.0], [1.0]])
    assert (found.low, found.high) == pytest.approx((1, 4))


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.98, 1.05, Met.MET), (1.051, 1.2, Met.NOT_MET), (1.04, 1.06, Met.NOT_SHOWN)],
)
def test_a_goal_is_met_only_when_the_whole_interval_lies_within(low: float, high: float, says: Met):
    assert judge(Interval((low + high) / 2, low, high), 1.05) is says


def test_rounds_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="pairs"):
        paired_ratio([[1.0]], [])
    with pytest.raises(ValueError, match="no times"):
        summary([])
