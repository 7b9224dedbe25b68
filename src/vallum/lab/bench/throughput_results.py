"""Rows and goals of `bench throughput`, from rounds of streams. Pure.

Everything is a share of the stream from node to node in the same round. A goal is that at most so many percent of it
are lost: link-bound the headers of a tunnel and little more, CPU-bound what the two links and the forwarding cost
that a pod has beyond its node. What policies cost is in points, the same road without them less with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from vallum.lab.bench.report import Goal, goal
from vallum.lab.bench.stats import Interval, centre
from vallum.lab.bench.stream import Flow
from vallum.lab.bench.throughput_plan import DIRECT, Cell, Condition

LOST = {
    "link-bound": {"hostgw": 2.0, "ipip": 4.0, "vxlan": 6.0},
    "CPU-bound": {"hostgw": 10.0, "ipip": 20.0, "vxlan": 20.0},
}
"""Percent of the stream from node to node that a road may cost."""

POINTS = 2.0
"""What policies may cost, in points of the same."""


@dataclass(slots=True)
class Series:
    """The streams of one cell, one a round."""

    cell: Cell
    flows: list[Flow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One cell under one condition. `percent` of the stream from node to node; CPU of the whole machine.

    `cost`: points that policies or tracking take, None without. `segment`: payload of a packet on the wire, in bytes.
    """

    link: str
    offload: bool
    road: str
    policies: int
    tracking: bool
    gbps: float
    percent: float
    percent_low: float
    percent_high: float
    cost: float | None
    cost_low: float | None
    cost_high: float | None
    cpu_ms_per_gb: float
    again_per_gb: float
    segment: int
    rounds: int


def rows(condition: Condition, series: Sequence[Series]) -> list[Row]:
    """A row a cell, in the order of cells."""
    return [_row(condition, one, series) for one in series]


def goals(condition: Condition, series: Sequence[Series]) -> list[Goal]:
    """What must hold under this condition, and whether it does. What a road loses is a goal where links segment."""
    found = []
    for one in series:
        cell = one.cell
        if cell.policies:
            text = f"points that {cell.policies:,} policies cost, {cell.road}: {condition}"
            found.append(goal(text, _cost(one, series), POINTS))
        elif condition.offload and cell.road != DIRECT and not cell.tracking:
            share = _share(one, series)
            lost = Interval(100 - share.value, 100 - share.high, 100 - share.low)
            found.append(
                goal(f"% lost to node to node, {cell.road}: {condition}", lost, LOST[condition.link][cell.road])
            )
    return found


def _share(one: Series, series: Sequence[Series]) -> Interval:
    return centre(_shares(one, series))


def _shares(one: Series, series: Sequence[Series]) -> list[float]:
    """Percent of the stream from node to node, round by round."""
    direct = _of(series, Cell(DIRECT))
    return [100 * flow.rate / base.rate for flow, base in zip(one.flows, direct.flows, strict=True)]


def _cost(one: Series, series: Sequence[Series]) -> Interval:
    bare = _of(series, Cell(one.cell.road))
    pairs = zip(_shares(bare, series), _shares(one, series), strict=True)
    return centre([without - held for without, held in pairs])


def _of(series: Sequence[Series], cell: Cell) -> Series:
    return next(one for one in series if one.cell == cell)


def _row(condition: Condition, one: Series, series: Sequence[Series]) -> Row:
    share = _share(one, series)
    cost = _cost(one, series) if one.cell.policies or one.cell.tracking else None
    gigabytes = sum(flow.bytes for flow in one.flows) / 1e9
    return Row(
        condition.link,
        condition.offload,
        one.cell.road,
        one.cell.policies,
        one.cell.tracking,
        gbps=median(flow.rate for flow in one.flows) / 1e9,
        percent=share.value,
        percent_low=share.low,
        percent_high=share.high,
        cost=None if cost is None else cost.value,
        cost_low=None if cost is None else cost.low,
        cost_high=None if cost is None else cost.high,
        cpu_ms_per_gb=1000 * sum(flow.busy for flow in one.flows) / gigabytes,
        again_per_gb=sum(flow.again for flow in one.flows) / gigabytes,
        segment=max(flow.segment for flow in one.flows),
        rounds=len(one.flows),
    )
