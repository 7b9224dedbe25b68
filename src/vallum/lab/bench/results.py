"""Rows and goals of `bench policy-cost`, from series of rounds. Pure.

`ratio` is the median over that of plane none with 0 policies on the same path at the same size; the two goals
compare nftables at the most policies with itself at 0, and with connection tracking alone. What the limits mean
and where they come from stands in the design of the measurement: a goal is met when the 95 % interval lies in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vallum.lab.bench.report import Goal, goal, none_of
from vallum.lab.bench.rounds import Series
from vallum.lab.bench.stats import paired_ratio, summary

NONE, TRACKING = "none", "tracking"
"""Set-ups, not planes: nothing at all, and connection tracking without a rule."""

TRACKING_LIMIT = 1.08
SOUGHT = 1.02
"""Against tracking: what must be reached, and what is sought (it takes the generation in the ct mark)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell at one size. Times in microseconds from the start of connect() to the last byte."""

    plane: str
    path: str
    shape: str
    policies: int
    size: int
    requests: int
    failures: int
    mean_us: float
    median_us: float
    p99_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    elements: int
    family: int = 4


def flat_limit(shape: str) -> float:
    """How much dearer the most policies may be than none: interval look-ups may cost a little more."""
    return 1.10 if shape == "ranges" else 1.05


def rows(group: Sequence[Series]) -> list[Row]:
    """A row for each series of cells that were measured together."""
    base = _find(group, NONE, 0)
    return [_row(series, base) for series in group]


def goals(group: Sequence[Series], plane: str) -> list[Goal]:
    """What must hold of the plane in this group, and whether it does."""
    cell = max((one.cell for one in group if one.cell.plane == plane), key=lambda cell: cell.policies)
    top, zero = _find(group, plane, cell.policies), _find(group, plane, 0)
    tracked = _find(group, TRACKING, 0)
    where = f"{cell.path}, {cell.shape}, {size_name(top.size)}" + (", IPv6" if cell.family == 6 else "")
    against = f"{plane} at {cell.policies:,} policies against"
    flat = goal(f"{against} 0: {where}", paired_ratio(top.rounds, zero.rounds), flat_limit(cell.shape))
    if cell.family == 6:
        return [flat]
    return [flat, goal(f"{against} tracking: {where}", paired_ratio(top.rounds, tracked.rounds), TRACKING_LIMIT)]


def no_failures(found: Sequence[Row]) -> Goal:
    """Every request of every row was answered in full."""
    return none_of("failed requests", sum(row.failures for row in found))


def size_name(size: int) -> str:
    """As the 2016 tables write it: .5k, 1k, 10k, 100k, 1M."""
    if size >= 1 << 20:
        return f"{size / (1 << 20):g}M"
    return f"{size / 1024:g}k".removeprefix("0")


def _find(group: Sequence[Series], plane: str, policies: int) -> Series:
    return next(one for one in group if (one.cell.plane, one.cell.policies) == (plane, policies))


def _row(series: Series, base: Series) -> Row:
    cell = series.cell
    times = [time for one in series.rounds for time in one]
    failures = sum(series.failures.values())
    found = summary(times)
    ratio = paired_ratio(series.rounds, base.rounds)
    return Row(
        *(cell.plane, cell.path, cell.shape, cell.policies, series.size, len(times) + failures, failures),
        *(found.mean, found.median, found.p99),
        *(ratio.value, ratio.low, ratio.high),
        *(series.elements, cell.family),
    )
