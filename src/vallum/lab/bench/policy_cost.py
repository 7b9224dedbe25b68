"""`vallum bench policy-cost`: the 2016 measurement rebuilt. What does a request pay for N policies?

A client pod asks a server pod over and over, each time on a new connection, under {nothing, connection tracking,
nftables} x policies x shapes x sizes x paths. Cells that are compared sit side by side and are measured in
interleaved rounds. What it ignores: throughput, load, and what a change of policy costs; other benches do that.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from vallum.lab.bench import report, results, shapes, tables
from vallum.lab.bench.arena import open_arena
from vallum.lab.bench.build import load_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.report import Goal
from vallum.lab.bench.results import NONE, TRACKING, Row
from vallum.lab.bench.rounds import Cell, Pace, Series, measure, prepare
from vallum.lab.bench.seats import Arena
from vallum.lab.bench.stats import Met

ONE_NODE, TWO_NODES = "one-node", "two-nodes"
PLANE = "nftables"
SEED = 2016
"""Of the order of cells in a round: the same in each run."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that are compared with each other."""

    path: str
    shape: str
    family: int = 4

    def __str__(self) -> str:
        return f"{self.path}, {self.shape}, IPv{self.family}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    groups: tuple[Group, ...]
    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    pace: Pace


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


QUICK = Plan(
    tuple(
        group
        for family in (4, 6)
        for group in (*(Group(ONE_NODE, shape, family) for shape in shapes.SHAPES), Group(TWO_NODES, "ports", family))
    ),
    (0, 200, 10_000),
    (512,),
    Pace(rounds=40, most=200, requests=50),
)
FULL = Plan(
    tuple(Group(path, shape, family) for family in (4, 6) for path in (ONE_NODE, TWO_NODES) for shape in shapes.SHAPES),
    shapes.COUNTS,
    tables.BLOG_SIZES,
    Pace(rounds=40, most=400, requests=50),
)


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print as table, json or yaml. Returns 0, or 1 where a goal is not met.

    Raises KernelError when the lab, the compiler or a control measurement fails.
    """
    tool = load_tool()
    found = in_sandbox(lambda: _measured(QUICK if quick else FULL, tool), Result, tool.parent)
    echo(report.show("policy-cost", found.rows, found.goals, lambda: tables.text(found.rows, found.goals), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def carry_out(plan: Plan, arena: Arena, tell: Callable[[str], None]) -> Result:
    """All groups of a plan, one after the other."""
    rng = Random(SEED)
    rows: list[Row] = []
    goals: list[Goal] = []
    for number, group in enumerate(plan.groups, start=1):
        tell(f"{number}/{len(plan.groups)} {group}")
        for series in _measured_group(plan, group, arena, rng):
            rows += results.rows(series)
            goals += results.goals(series, PLANE)
    return Result(rows, [*goals, results.no_failures(rows)])


def cells_of(group: Group, counts: Sequence[int]) -> list[Cell]:
    """The cells of a group: the two set-ups without policies, and the plane with each number of them."""
    wanted = [*((plane, 0) for plane in (NONE, TRACKING)), *((PLANE, count) for count in counts)]
    return [Cell(plane, group.path, group.shape, count, group.family) for plane, count in wanted]


def _measured(plan: Plan, tool: Path) -> Result:
    """Everything on one CPU, the last that we may use: the first is where most machines take interrupts."""
    with open_arena(tool, max(os.sched_getaffinity(0))) as arena:
        return carry_out(plan, arena, _tell)


def _measured_group(plan: Plan, group: Group, arena: Arena, rng: Random) -> list[list[Series]]:
    cells = cells_of(group, plan.counts)
    seats = prepare(arena, cells)
    return [measure(seats, cells, size, plan.pace, rng=rng, is_open=_is_open) for size in plan.sizes]


def _is_open(group: Sequence[Series]) -> bool:
    return any(goal.says == Met.NOT_SHOWN for goal in results.goals(group, PLANE))


def _tell(text: str) -> None:
    """Progress, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")
