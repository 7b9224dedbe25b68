"""From samples to a ratio with an interval, and from an interval to a judgement. Pure and deterministic.

The interval of a ratio comes from paired rounds: in each round both partners were measured within milliseconds
of each other, so what the machine did meanwhile is in both. It is the Hodges-Lehmann interval (Walsh averages of
the log ratios, cut by the Wilcoxon signed-rank distribution), which needs no normality and shrugs at a few
disturbed rounds. It is widened so as to hold the pooled ratio that is printed beside it. What it ignores:
a difference between two worlds that stays the same in all rounds; that is for the set-up to keep small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations_with_replacement
from math import ceil, exp, floor, log, sqrt
from statistics import fmean, median

CONFIDENCE = 0.95
FEWEST_ROUNDS = 6
"""With fewer no signed-rank interval of 95 % exists: 2 * 0.5**5 = 6.25 %."""

_EXACT_UP_TO = 50
_Z = 1.959963984540054


class Met(StrEnum):
    """What a measurement says about a goal. An interval that straddles the limit says nothing."""

    MET = "met"
    NOT_MET = "not met"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio and its 95 % interval, `low <= value <= high`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of many request times, in microseconds."""

    count: int
    mean: float
    median: float
    p99: float


def summary(times: Sequence[float]) -> Summary:
    """Mean, median and p99 of times. Raises ValueError for none."""
    if not times:
        raise ValueError("no times to sum up")
    return Summary(len(times), fmean(times), median(times), quantile(times, 0.99))


def quantile(values: Sequence[float], part: float) -> float:
    """The `part` quantile, interpolated linearly between the two neighbours."""
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    below = floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def quantile_interval(values: Sequence[float], part: float) -> Interval:
    """The `part` quantile between two order statistics that hold it with 95 % (binomial, by the normal law).

    Where so few values hold no upper or lower bound, the extreme stands for it.
    """
    ordered = sorted(values)
    count = len(ordered)
    spread = _Z * sqrt(count * part * (1 - part))
    low, high = floor(count * part - spread), ceil(count * part + spread)
    value = quantile(ordered, part)
    return Interval(value, min(value, ordered[max(0, low - 1)]), max(value, ordered[min(count - 1, high)]))


def paired_ratio(rounds: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> Interval:
    """Pooled median of `rounds` over that of `base`; the i-th of both were measured together.

    Raises ValueError when they are not pairs, or when a round is empty.
    """
    if len(rounds) != len(base) or not rounds:
        raise ValueError("rounds must come in pairs")
    value = median(_pool(rounds)) / median(_pool(base))
    if rounds == base:
        return Interval(value, value, value)
    low, high = _hodges_lehmann([log(median(a) / median(b)) for a, b in zip(rounds, base, strict=True)])
    return Interval(value, min(value, exp(low)), max(value, exp(high)))


def centre(values: Sequence[float]) -> Interval:
    """The median of differences or shares, one a round, between the ends of its Hodges-Lehmann interval.

    Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values to centre")
    value = median(values)
    low, high = _hodges_lehmann(values)
    return Interval(value, min(value, low), max(value, high))


def judge(interval: Interval, limit: float) -> Met:
    """Whether a ratio is at most `limit`: met when the whole interval is, not met when none of it is."""
    if interval.high <= limit:
        return Met.MET
    return Met.NOT_MET if interval.low > limit else Met.NOT_SHOWN


def _pool(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [time for one in rounds for time in one]


def _hodges_lehmann(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the interval for the centre of `values`. Too few rounds: everything that was seen."""
    walsh = sorted((a + b) / 2 for a, b in combinations_with_replacement(values, 2))
    if len(values) < FEWEST_ROUNDS:
        return walsh[0], walsh[-1]
    skip = _rank_cut(len(values))
    return walsh[skip], walsh[-1 - skip]


def _rank_cut(n: int) -> int:
    """How many Walsh averages to leave out at each end: P(W < cut) <= 2.5 % under the signed-rank law."""
    if n > _EXACT_UP_TO:
        return max(0, floor(n * (n + 1) / 4 - _Z * sqrt(n * (n + 1) * (2 * n + 1) / 24)))
    counts = [1]
    for rank in range(1, n + 1):  # sums of subsets of 1..n, each subset as likely as any other
        shifted = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, shifted, strict=True)]
    allowed = (1 - CONFIDENCE) / 2 * 2**n
    seen = cut = 0
    while seen + counts[cut] <= allowed:
        seen += counts[cut]
        cut += 1
    return cut
