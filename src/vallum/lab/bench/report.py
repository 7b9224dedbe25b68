"""What every bench prints: its tables for people, or one record with rows, goals and the machine it ran on.

The record is what goes to `bench/`. A figure without kernel, cores and commit says nothing, so they are always there;
nothing else of the machine is. What it ignores: what the rows mean; each bench lays its own tables out.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import vallum
from vallum.lab.bench.stats import Interval, Met, judge

Table = list[list[str]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal and what was found. `says`: met, not met, or not shown; only the first is `met`."""

    goal: str
    value: float
    low: float
    high: float
    limit: float
    says: str

    @property
    def met(self) -> bool:
        """Reports whether the whole interval lies within the limit."""
        return self.says == Met.MET


def goal(text: str, found: Interval, limit: float) -> Goal:
    """The goal that a figure is at most `limit`."""
    return Goal(text, found.value, found.low, found.high, limit, judge(found, limit).value)


def none_of(text: str, count: int) -> Goal:
    """The goal that something never happened."""
    return goal(text, Interval(count, count, count), 0)


def show(bench: str, rows: Sequence[Any], goals: Sequence[Goal], text: Callable[[], str], output: str) -> str:
    """The result in the wanted form. `text` lays out the tables for people; `rows`: the records for programs."""
    kernel, cores = os.uname().release, os.cpu_count() or 1
    if output == "table":
        return f"{text()}\n\n{_commit()}, Linux {kernel}, {cores} cores"
    found = {
        "bench": bench,
        "commit": _commit(),
        "kernel": kernel,
        "cores": cores,
        "rows": [_rounded(asdict(row)) for row in rows],
        "goals": [_rounded(asdict(one) | {"met": one.met}) for one in goals],
    }
    return json.dumps(found, indent=2) if output == "json" else yaml.safe_dump(found, sort_keys=False).rstrip()


def goals_text(title: str, goals: Sequence[Goal], digits: int = 3, between: str = "95 %") -> str:
    """The goals as a table. `between`: what low and high mean."""
    body = [
        [one.goal, *(f"{value:.{digits}f}" for value in (one.value, one.low, one.high)), f"{one.limit:g}", one.says]
        for one in goals
    ]
    lines = [[goal, value, f"{low}-{high}", limit, says] for goal, value, low, high, limit, says in body]
    return f"{title}\n{lay([['goal', 'value', between, 'at most', ''], *lines])}"


def lay(table: Table, text: int = 1) -> str:
    """Columns of equal width, the first `text` of them left, figures right."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}


def _commit() -> str:
    """The commit of the checkout that runs, the version where it is installed without one.

    `-dirty` speaks of the package only: the file that a result is being written to is no other code.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", str(Path(vallum.__file__).parent))
    return f"{commit}{'-dirty' * bool(changed)}" if commit else f"version {vallum.__version__}"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(vallum.__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
