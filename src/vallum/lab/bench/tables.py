"""The result of `bench policy-cost` as text: the 2016 measurement's two tables in its form, beside its figures,
then what was not measured then: every shape as a ratio with its interval, and the goals. Pure.

The blog's machine is not this one, so its milliseconds stand beside ours for the form only; the cost in percent
is what compares.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from vallum.lab.bench.report import Goal, goals_text, lay
from vallum.lab.bench.results import NONE, SOUGHT, TRACKING, Row, size_name

BLOG_SIZES = (512, 1 << 10, 10 << 10, 100 << 10, 1 << 20)
BLOG: dict[int, tuple[float, ...]] = {
    0: (0.732, 0.738, 1.077, 2.532, 10.487),
    10: (0.744, 0.742, 1.084, 2.570, 10.556),
    50: (0.745, 0.755, 1.086, 2.580, 10.566),
    100: (0.762, 0.770, 1.104, 2.640, 10.597),
    200: (0.783, 0.783, 1.147, 2.652, 10.677),
}
"""Mean request time in ms (Kubernetes blog, 2016, Romana 0.9.3.1 on iptables): policies -> by size."""

Value = TypeVar("Value")


def text(rows: Sequence[Row], goals: Sequence[Goal]) -> str:
    """All tables, for a terminal or a file."""
    places = _unique((row.path, row.family) for row in rows)
    parts = [part for path, family in places for part in _blog_form(rows, path, family)]
    return "\n\n".join([*parts, _shapes(rows), goals_text(f"Goals (against tracking {SOUGHT:.2f} is sought)", goals)])


def cost(row: Row, rows: Sequence[Row]) -> float:
    """Percent that the mean of `row` lies above the same plane, path, shape and size with 0 policies."""
    zero = next(one for one in rows if one.policies == 0 and _key(one) == _key(row))
    return 100 * (row.mean_us / zero.mean_us - 1)


def _tracked(row: Row, rows: Sequence[Row]) -> float:
    """The median against that of connection tracking; the goals have the interval."""
    base = replace(row, plane=TRACKING)
    return row.median_us / next(one.median_us for one in rows if _key(one) == _key(base))


def _key(row: Row) -> tuple[str, str, int, str, int]:
    return row.plane, row.path, row.family, row.shape, row.size


def _blog_form(rows: Sequence[Row], path: str, family: int) -> list[str]:
    """Time by size and policies, and cost in percent: shape ports, the one that was measured then."""
    same = [row for row in rows if (row.path, row.family, row.shape) == (path, family, "ports")]
    ours = [row for row in same if row.plane not in (NONE, TRACKING)]
    if not ours:
        return []
    sizes = _unique(row.size for row in ours)
    head = ["policies", *(size_name(size) for size in sizes), *(f"2016 {size_name(size)}" for size in sizes)]
    times, costs = [head], [head]
    for count in _unique(row.policies for row in ours):
        cells = [next(row for row in ours if (row.policies, row.size) == (count, size)) for size in sizes]
        ms = [f"{row.mean_us / 1000:.3f}" for row in cells]
        times.append([f"{count:,}", *ms, *_then(count, sizes, relative=False)])
        if count:
            percent = [f"{cost(row, rows):+.1f} %" for row in cells]
            costs.append([f"{count:,}", *percent, *_then(count, sizes, relative=True)])
    title = f"{ours[0].plane}, {path}, IPv{family}, policies that allow a port"
    return [
        f"Mean request time in ms by response size ({title}; 2016: Romana on iptables, another machine)\n{lay(times)}",
        f"Cost of policies: mean against 0 policies ({title})\n{lay(costs)}",
    ]


def _then(count: int, sizes: Sequence[int], *, relative: bool) -> list[str]:
    """The same line of the 2016 tables, where they have one."""
    return [_then_cell(count, size, relative=relative) for size in sizes]


def _then_cell(count: int, size: int, *, relative: bool) -> str:
    if count not in BLOG or size not in BLOG_SIZES:
        return "-"
    column = BLOG_SIZES.index(size)
    then = BLOG[count][column]
    return f"{100 * (then / BLOG[0][column] - 1):+.1f} %" if relative else f"{then:.3f}"


def _shapes(rows: Sequence[Row]) -> str:
    where = ["path", "", "shape", "plane"]
    what = ["policies", "size", "median us", "p99 us", "ratio", "95 %", "tracked", "elements", "failed"]
    body = [
        [
            *(row.path, f"IPv{row.family}", row.shape, row.plane, f"{row.policies:,}", size_name(row.size)),
            *(f"{row.median_us:.1f}", f"{row.p99_us:.1f}", f"{row.ratio:.3f}"),
            *(f"{row.ratio_low:.3f}-{row.ratio_high:.3f}", f"{_tracked(row, rows):.3f}"),
            *(f"{row.elements:,}", f"{row.failures} of {row.requests:,}"),
        ]
        for row in rows
    ]
    title = "Median against the same path without any plane (ratio), and with connection tracking alone (tracked)"
    return f"{title}\n{lay([[*where, *what], *body], text=len(where))}"


def _unique(values: Iterable[Value]) -> list[Value]:
    return list(dict.fromkeys(values))
