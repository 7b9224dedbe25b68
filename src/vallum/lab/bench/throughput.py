"""`vallum bench throughput`: how much of the way from host to host is left between pods, by each back end.

One TCP stream between pods on two nodes behind a router, beside the same stream from node to node in the same rounds:
the study of 2016 rebuilt, without and with policies. What it ignores: latency, several streams, IPv6.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from vallum.lab.bench import report, throughput_tables
from vallum.lab.bench.build import stream_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Met
from vallum.lab.bench.stream import Flow
from vallum.lab.bench.throughput_plan import CELLS, CONDITIONS, Cell, Condition
from vallum.lab.bench.throughput_results import Row, Series, goals, rows
from vallum.lab.bench.throughput_seat import open_arena

SEED = 2016
"""Of the order of cells in a round: the same in each run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: rounds at first and at most, seconds of a stream before it counts and while it does."""

    rounds: int
    most: int
    warm: float
    length: float
    conditions: tuple[Condition, ...] = CONDITIONS
    cells: tuple[Cell, ...] = CELLS


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)


class Seat(Protocol):
    """The way of one cell, from end to end."""

    def prove(self) -> None:
        """Put road and policies in place. Raises KernelError when the stream is not refused without the policy that
        admits it, or does not get through with it.
        """
        ...

    def run(self, warm: float, length: float) -> Flow:
        """One stream; `length` seconds count, after `warm`. Raises KernelError when it breaks."""
        ...


class Arena(Protocol):
    """Seats by cell, all alive at once."""

    def seat(self, cell: Cell) -> Seat:
        """The seat, built when first asked for. Raises KernelError."""
        ...

    def set(self, condition: Condition) -> None:
        """Put every seat under this condition: rates on the router's links, offloads of all. Raises KernelError."""
        ...


# many short streams: partners have to be close together in time, and a window opens in milliseconds here
QUICK = Plan(rounds=16, most=30, warm=0.05, length=0.12)
FULL = Plan(rounds=40, most=150, warm=0.1, length=0.3)


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print as table, json or yaml. Returns 0, or 1 where a goal is not met.

    Raises KernelError when the lab, the compiler or a control measurement fails.
    """
    tool = stream_tool()
    found = in_sandbox(lambda: _measured(QUICK if quick else FULL, tool), Result, tool.parent)
    text = throughput_tables.text
    echo(report.show("throughput", found.rows, found.goals, lambda: text(found.rows, found.goals), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def carry_out(plan: Plan, arena: Arena, tell: Callable[[str], None]) -> Result:
    """All cells under every condition of a plan, one condition after the other."""
    seats = {cell: arena.seat(cell) for cell in plan.cells}
    for seat in seats.values():
        seat.prove()
    rng, result = Random(SEED), Result()
    for condition in plan.conditions:
        tell(str(condition))
        arena.set(condition)
        series = _measured_under(condition, plan, seats, rng)
        result.rows.extend(rows(condition, series))
        result.goals.extend(goals(condition, series))
    return result


def _measured_under(condition: Condition, plan: Plan, seats: dict[Cell, Seat], rng: Random) -> list[Series]:
    """Rounds over all cells, in another order each, until no goal is open or the limit is reached."""
    series = [Series(cell) for cell in seats]
    for done in range(plan.most):
        if done >= plan.rounds and (done - plan.rounds) % 5 == 0 and not _is_open(condition, series):
            break
        for one in rng.sample(series, len(series)):
            one.flows.append(seats[one.cell].run(plan.warm, plan.length))
    return series


def _is_open(condition: Condition, series: Sequence[Series]) -> bool:
    return any(goal.says == Met.NOT_SHOWN for goal in goals(condition, series))


def _measured(plan: Plan, tool: Path) -> Result:
    with open_arena(tool) as arena:
        return carry_out(plan, arena, _tell)


def _tell(text: str) -> None:
    """Progress, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")
