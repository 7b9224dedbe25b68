"""`vallum bench ipam`: what an address costs, pure and durable, how that grows, and what a kill leaves behind.

Every figure has a process of its own, so that none pays for another's memory; garbage collection is on, as in an agent.
A durable step is one commit with full sync; beside it, in turn, a bare write of one page with fsync to the same file
system, which is what the disk itself takes.
"""

import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median
from typing import TypeVar

from vallum.ipam import Request, blocks
from vallum.ipam.ledger import Ledger
from vallum.ipam.pools import Pools
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.lab.bench import ipam_site as site
from vallum.lab.bench import report
from vallum.lab.bench.ipam_crash import HOST, Crashed, Crowd, counted, crash, work
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile, quantile_interval
from vallum.model.errors import InputError

SIZES = (1_000, 10_000, 100_000)
LARGE = SIZES[-1]
NODES = (1_000, 10_000)
TRIALS, QUICK_TRIALS = 5_000, 500
KILLS, QUICK_KILLS = 1_000, 60
PROCESSES, TURNS, QUICK_TURNS = 8, 300, 60
OPENINGS, QUICK_OPENINGS = 20, 7

ALLOCATE, FREE = "allocate", "free"
DURABLE_ALLOCATE, DURABLE_FREE, BARE = "allocate, durable", "free, durable", "a page written with fsync"
OPEN, PLACE = "open the ledger", "place all nodes"
LIMITS = {ALLOCATE: 0.2, FREE: 0.2, DURABLE_ALLOCATE: 2.0, DURABLE_FREE: 2.0, OPEN: 500.0, PLACE: 2000.0}
"""Milliseconds at the large size, the median."""
GROWTH = {ALLOCATE: 0.2, FREE: 0.2, DURABLE_ALLOCATE: 0.2, DURABLE_FREE: 0.2, OPEN: 1.15, PLACE: 1.15}
"""The exponent from the smallest to the largest size: cost ~ size ** exponent."""

Answer = TypeVar("Answer")
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds of one step at one size (addresses in use, or nodes). `low` and `high` hold the median with 95 %.

    `ratio`: the median to that of a bare fsync of the same run; `on`: the file system of a durable step.
    """

    what: str
    size: int
    trials: int
    median: float
    low: float
    high: float
    p99: float
    ratio: float | None = None
    on: str = ""


@dataclass(frozen=True, slots=True)
class Endured:
    """What was counted: kills, or processes at once. `wrong`: everything that must not be."""

    what: str
    times: int
    answers: int
    seconds: float
    twice: int
    lost: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals."""

    rows: list[Row]
    endured: list[Endured]
    goals: list[Goal]


def run(folder: Path, quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met. `folder`: on the disk that is to be measured."""
    try:
        inside = tempfile.TemporaryDirectory(prefix="vallum-bench-", dir=folder)
    except OSError as error:
        raise InputError("--folder", f"{folder} cannot be written to ({error.strerror}); name another") from error
    with inside as name:
        found = judged(*measured(Path(name), quick=quick))
    echo(report.show("ipam", [*found.rows, *found.endured], found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def measured(folder: Path, *, quick: bool) -> tuple[list[Row], list[Endured]]:
    """Everything, each in a process of its own."""
    trials, openings = (QUICK_TRIALS, QUICK_OPENINGS) if quick else (TRIALS, OPENINGS)
    rows = [row for size in SIZES for row in ledger_rows(folder, size, trials, openings)]
    rows += [_row(PLACE, size, apart(placed, size, 3 if quick else 7)) for size in NODES]
    crashed = apart(crashes, folder / "crash", QUICK_KILLS if quick else KILLS)
    crowded = apart_crowd(folder / "crowd", PROCESSES, QUICK_TURNS if quick else TURNS)
    return rows, [crashed, crowded]


def apart(measure: Callable[..., Answer], *words: object) -> Answer:
    """The answer of a process that has done nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, words)


# Times


def ledger_rows(folder: Path, size: int, trials: int, openings: int) -> list[Row]:
    """All figures of a ledger with so many addresses in use."""
    path = folder / f"ledger-{size}"
    apart(site.fill, path, size)
    opens = apart(opened, path, openings)
    pure = apart(decided, path, trials)
    kept = apart(durable, path, max(trials // 5, 50))
    bare, on = median(kept[BARE]), file_system(folder)
    rows = [_row(OPEN, size, opens), *(_row(what, size, times) for what, times in pure.items())]
    return rows + [_row(what, size, times, median(times) / bare, on) for what, times in kept.items()]


def opened(path: Path, trials: int) -> list[float]:
    """From nothing to a State of everything that is in the file."""
    return [_timed(_open, path) for _ in range(trials)]


def decided(path: Path, trials: int) -> Samples:
    """Allocate on a random host, free a random owner, in turn: the decision, and taking it into the State."""
    store = Ledger(path, create=False)
    state = store.state()
    store.close()
    rng, now, found = random.Random(7), store.now(), Samples({ALLOCATE: [], FREE: []})
    hosts, live = list(state.hosts), [(host, owner) for host, owner, _ in state.holding()]
    for turn in range(trials):
        now += 0.01
        host, asked = rng.choice(hosts), site.request(f"fresh-{turn}")
        found[ALLOCATE].append(_timed(_give, state, host, asked, now))
        live.append((host, asked.owner))
        at = rng.randrange(len(live))
        (where, owner), live[at] = live[at], live[-1]
        live.pop()
        found[FREE].append(_timed(_take_back, state, where, owner, now))
    return found


def durable(path: Path, trials: int) -> Samples:
    """The same through `Pools` on the ledger, with a bare fsync between them."""
    store = Ledger(path, create=False)
    rng, found = random.Random(7), Samples({DURABLE_ALLOCATE: [], DURABLE_FREE: [], BARE: []})
    pools = {name: Pools(store, name) for name in store.state().hosts}
    page, beside = bytes(4096), os.open(path.with_suffix(".bare"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for turn in range(trials):
        mine, asked = rng.choice(list(pools.values())), site.request(f"kept-{turn}")
        found[DURABLE_ALLOCATE].append(_timed(mine.allocate, asked))
        found[BARE].append(_timed(_write, beside, page))
        found[DURABLE_FREE].append(_timed(mine.free, asked.owner))
    os.close(beside)
    store.close()
    return found


def placed(nodes: int, trials: int) -> list[float]:
    """Place so many nodes over zones and racks, one decision after the other."""
    return [_timed(site.settle, site.empty(), nodes) for _ in range(trials)]


def _timed(do: Callable[..., object], *words: object) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    do(*words)
    return 1000 * (time.perf_counter() - start)


def _open(path: Path) -> None:
    Ledger(path, create=False).close()


def _give(state: State, host: str, asked: Request, now: float) -> None:
    site.apply(state, blocks.allocate(state, host, asked, now)[0])


def _take_back(state: State, host: str, owner: str, now: float) -> None:
    site.apply(state, blocks.free(state, host, owner, now))


def _write(file: int, page: bytes) -> None:
    os.write(file, page)
    os.fsync(file)


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on; empty where the kernel does not tell."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""


# What must hold


def crashes(folder: Path, kills: int) -> Endured:
    """Kill a process under load so often."""
    folder.mkdir()
    path, seed = folder / "ledger", random.randrange(2**32)
    lay(path, [HOST])
    start = time.perf_counter()
    found: Crashed = crash(path, kills, seed)
    wrong = [*found.strangers, *found.refused, *map(str, found.findings)]
    if found.twice or found.lost or wrong:
        _keep(folder, f"seed {seed}", [*found.twice, *found.lost, *wrong])
    seconds = time.perf_counter() - start
    return Endured("kills", found.kills, found.answers, seconds, len(found.twice), len(found.lost), len(wrong))


def apart_crowd(folder: Path, processes: int, turns: int) -> Endured:
    """So many processes allocate and free at once, each as a host of its own."""
    folder.mkdir()
    path, names = folder / "ledger", [f"h{number}" for number in range(processes)]
    lay(path, names)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        start = time.perf_counter()
        answers = pool.starmap(work, [(path, name, turns) for name in names], chunksize=1)
    found: Crowd = counted(path, answers, turns, start)
    if found.twice or found.lost or found.findings:
        _keep(folder, "at once", [*found.twice, *found.lost, *map(str, found.findings)])
    counts = len(found.twice), len(found.lost), len(found.findings)
    return Endured("processes at once", processes, found.commits, found.seconds, *counts)


def lay(path: Path, hosts: Sequence[str]) -> None:
    """A ledger with a network of 1,024 addresses a host or more, and hosts that have joined."""
    state = site.empty()
    store = Ledger(path)
    store.commit(lambda _: (Change(tuple(state.records())), None))
    for number, name in enumerate(hosts):
        Pools(store, name).join(site.labels_of(number))
    store.close()


def _keep(folder: Path, what: str, wrong: list[str]) -> None:
    """What went wrong once may not do so again: leave the ledger for whoever looks."""
    kept = Path(tempfile.mkdtemp(prefix="vallum-bench-ipam-"))
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    sys.stderr.write(f"{what}: {'; '.join(wrong[:10])}; the ledger is in {kept}\n")


# Judgement, pure


def judged(rows: list[Row], endured: list[Endured]) -> Result:
    """Goals from rows."""
    goals = []
    for what, limit in LIMITS.items():
        row = max((row for row in rows if row.what == what), key=lambda row: row.size)
        goals.append(report.goal(f"{what}, ms: {_size(row)}", Interval(row.median, row.low, row.high), limit))
    for what, limit in GROWTH.items():
        slope = exponent(rows, what)
        goals.append(report.goal(f"growth of {what}", Interval(slope, slope, slope), limit))
    for one in endured:
        name = f"{one.times:,} {one.what}"
        goals.append(report.none_of(f"addresses given twice: {name}", one.twice))
        goals.append(report.none_of(f"acknowledged and lost: {name}", one.lost))
        goals.append(report.none_of(f"findings, or a hand needed: {name}", one.wrong))
    return Result(rows, endured, goals)


def exponent(rows: Sequence[Row], what: str) -> float:
    """The slope of log(median) over log(size), by least squares."""
    points = [(math.log(row.size), math.log(row.median)) for row in rows if row.what == what]
    return linear_regression(*zip(*points, strict=True)).slope


def _row(what: str, size: int, times: Sequence[float], ratio: float | None = None, on: str = "") -> Row:
    middle = quantile_interval(times, 0.5)
    ends = (middle.value, middle.low, middle.high, quantile(times, 0.99))
    return Row(what, size, len(times), *ends, ratio, on)


def _size(row: Row) -> str:
    return f"{row.size:,} nodes" if row.what == PLACE else f"{row.size:,} in use"


def text(found: Result) -> str:
    """The tables, for a terminal or a file."""
    head = ["", "", "trials", "median ms", "95 %", "p99", "to a bare fsync"]
    body = [list(_cells(row)) for row in found.rows]
    on = next((row.on for row in found.rows if row.on), "")
    ends = ["", "times", "answers", "seconds", "given twice", "lost", "else wrong"]
    counts = [
        [
            one.what,
            f"{one.times:,}",
            f"{one.answers:,}",
            f"{one.seconds:.1f}",
            *map(str, (one.twice, one.lost, one.wrong)),
        ]
        for one in found.endured
    ]
    tables = (f"ipam (durable: on {on})\n{report.lay([head, *body], text=2)}", report.lay([ends, *counts]))
    return "\n\n".join([*tables, report.goals_text("goals", found.goals)])


def _cells(row: Row) -> Iterator[str]:
    yield row.what
    yield _size(row)
    yield f"{row.trials:,}"
    yield f"{row.median:.3f}"
    yield f"{row.low:.3f}-{row.high:.3f}"
    yield f"{row.p99:.3f}"
    yield "" if row.ratio is None else f"{row.ratio:.2f}"
