"""`vallum bench engine`: what the policy compiler costs in time and memory, and how that grows with the cluster.

No packets and no kernel: worlds of decoded objects (`crowd`) are loaded, changed and asked about, each size in a
process of its own so that memory can be told apart. Times are wall clock of one thread, with garbage collection as the
agent has it. After the changes the engine must hold what a new one would make: otherwise nothing is measured. The
questions that a person asks stand beside it: one explain, a whole matrix, a folder linted by the command itself.
"""

import gc
import math
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import linear_regression, median

from vallum.agent.world import World
from vallum.analysis.asked import Asked
from vallum.analysis.explain import explain
from vallum.analysis.matrix import Matrix
from vallum.analysis.parties import By
from vallum.analysis.probe import parse
from vallum.lab.bench import report
from vallum.lab.bench.crowd import Size, crowd, policy
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile
from vallum.model.errors import KernelError
from vallum.model.objects import TCP, Namespace, Object, Peer, Pod, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, labels
from vallum.model.snapshot import Batch, Event, Gone, Put, Snapshot, key_of, snapshot_of
from vallum.policy.compile import Engine, compile_node
from vallum.policy.index import Moved
from vallum.policy.peers import Peers
from vallum.policy.sets import Sets
from vallum.sources.encode import manifest
from vallum.sources.write import stream, yaml_of

NODE = "node-0"
LOADS, TRIALS, QUICK_TRIALS = 5, 200, 40
SMALL, MIDDLE, LARGE = Size(1_000, 5, 100), Size(10_000, 50, 1_000), Size(100_000, 500, 10_000)
UNIQUE, STEEP = replace(LARGE, unique=True), replace(LARGE, policies=75_000)
FOLDER = Size(0, 500, 10_000)

LOAD, SELECTORS = "load and compile one node", "evaluate every selector"
POD, LOCAL, SPACE = "label of a pod", "label of a pod of the node", "label of a namespace"
POLICY, NEAR, WHOLE = "policy anywhere", "policy on a pod of the node", "new whole-cluster peer"
EXPLAIN, MATRIX, LINT = "explain", "matrix by workload", "lint a folder, the whole command"
MEMORY, PER_POD = "memory of the engine", "memory per pod"
LIMITS = {
    LOAD: 1000.0,
    SELECTORS: 500.0,
    POD: 2.0,
    LOCAL: 2.0,
    SPACE: 20.0,
    POLICY: 20.0,
    NEAR: 20.0,
    WHOLE: 100.0,
    EXPLAIN: 5.0,
}
"""Milliseconds at the large size, 95 of 100 trials."""
LIMIT_MIB, LIMIT_STEEP, LIMIT_MATRIX, LIMIT_LINT = 100.0, 6000.0, 10_000.0, 10_000.0
GROWTH = {LOAD: 1.15, MEMORY: 1.1, POD: 0.4, POLICY: 0.4, EXPLAIN: 0.4}
"""The exponent from 1,000 to 100,000 pods: cost ~ size ** exponent."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one world. `unit`: ms, MiB or bytes; `low` and `high` hold 90 of 100 trials."""

    pods: int
    policies: int
    unique_labels: bool
    what: str
    unit: str
    trials: int
    median: float
    low: float
    high: float
    of_load: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met."""
    trials = QUICK_TRIALS if quick else TRIALS
    rows = [row for size in (SMALL, MIDDLE, LARGE) for row in apart(measured, size, trials)]
    rows += [] if quick else [row for size in (UNIQUE, STEEP) for row in apart(measured, size, trials)]
    rows += [*apart(asked_for_all, MIDDLE, 1 if quick else 3), *linted(FOLDER, 1 if quick else 3)]
    found = judged(rows)
    echo(report.show("engine", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def apart(measure: Callable[[Size, int], list[Row]], size: Size, trials: int) -> list[Row]:
    """Figures of one size, measured in a process that has seen no other."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (size, trials))


def asked_for_all(size: Size, trials: int) -> list[Row]:
    """How long it takes to tell who reaches whom, every pair of workloads."""
    snapshot, taken = snapshot_of(tuple(crowd(size)), "0"), []
    gc.freeze()
    for _ in range(trials):
        start = time.perf_counter()
        for _ in Matrix(snapshot, By.WORKLOAD).connections():
            pass
        taken.append(1000 * (time.perf_counter() - start))
    return [_row(size, MATRIX, "ms", taken)]


def linted(size: Size, trials: int) -> list[Row]:
    """How long `vallum lint` takes for a folder with a file for each namespace, its start included."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="vallum-bench-") as folder:
        files: dict[str, list[str]] = {}
        for thing in crowd(size):
            space = thing.id.namespace if isinstance(thing, Pod | Policy) else thing.name
            files.setdefault(space, []).append(yaml_of(manifest(thing)))
        for name, found in files.items():
            (Path(folder) / f"{name}.yaml").write_text(stream(found), encoding="utf-8")
        for _ in range(trials):
            start = time.perf_counter()
            run = subprocess.run([sys.executable, "-m", "vallum", "lint", folder], capture_output=True, check=False)
            taken.append(1000 * (time.perf_counter() - start))
            if run.returncode > 1:
                raise KernelError(f"lint was refused: {run.stderr.decode()}")
    return [_row(size, LINT, "ms", taken)]


def measured(size: Size, trials: int) -> list[Row]:
    """All figures of one size, in this process."""
    objects = crowd(size)
    gc.collect()
    gc.freeze()
    before = resident()
    site = _Site(size, objects)
    gc.collect()
    memory = resident() - before
    loads = [site.loaded]
    for _ in range(LOADS - 1):
        del site  # what is to be thrown away would be walked by every collection of the next load
        site = _Site(size, objects)
        loads.append(site.loaded)
    gc.collect()
    gc.freeze()
    samples = {LOAD: loads, SELECTORS: [site.selectors() for _ in range(3)]}
    samples[EXPLAIN] = [site.explained() for _ in range(trials)]
    samples |= {name: [site.timed(change(site)) for _ in range(trials)] for name, change in CHANGES.items()}
    site.check()
    load = median(loads)
    rows = [_row(size, name, "ms", values, None if name == LOAD else load) for name, values in samples.items()]
    return [*rows, _row(size, MEMORY, "MiB", [memory / 2**20]), _row(size, PER_POD, "bytes", [memory / size.pods])]


class _Site:
    """A world under an engine, and a supply of changes to it."""

    def __init__(self, size: Size, objects: Sequence[Object]) -> None:
        start = time.perf_counter()
        snapshot = snapshot_of(tuple(objects), "0")
        self._engine = Engine(NODE)
        self._ruleset, _ = self._engine.compile(snapshot)
        self.loaded = 1000 * (time.perf_counter() - start)
        self.size = size
        self.random = Random(7)
        self.pods = [thing for thing in objects if isinstance(thing, Pod)]
        self.mine = [pod for pod in self.pods if pod.node == NODE]
        self.spaces = [thing for thing in objects if isinstance(thing, Namespace)]
        self._world = World()
        self._world.snapshot = snapshot
        self.cure: list[Event] = []

    @property
    def snapshot(self) -> Snapshot:
        """The world as it stands."""
        return self._world.snapshot

    def timed(self, events: Sequence[Event]) -> float:
        """Milliseconds from these events to Tables that decide by them. What `cure` holds is undone afterwards."""
        start = time.perf_counter()
        snapshot = self._world.apply(Batch(tuple(events), "1"))
        self._ruleset, tables = self._engine.compile(snapshot)
        for half in (tables.ingress, tables.egress):  # rows are made when first asked for: ask
            for address in list(half.profiles)[:8]:
                half.address_class(address)
        taken = time.perf_counter() - start
        if self.cure:
            self._ruleset, _ = self._engine.compile(self._world.apply(Batch(tuple(self.cure), "2")))
            self.cure = []
        return 1000 * taken

    def explained(self) -> float:
        """Milliseconds to say why one pod may, or may not, talk to another, with the nearest miss."""
        source, target = self.random.sample(self.pods, 2)
        probe = parse({"from": str(source.id), "to": str(target.id), "port": self.random.choice((80, 5432, 8080))})
        start = time.perf_counter()
        explain(Asked(self.snapshot, self._ruleset.sets.people), probe)
        return 1000 * (time.perf_counter() - start)

    def selectors(self) -> float:
        """Milliseconds to evaluate every selector of every policy of the cluster."""
        spaces = self.snapshot.namespaces
        start = time.perf_counter()
        peers = Peers(self._engine.index)
        peers.follow(Moved(), spaces, list(spaces))
        for one in self.snapshot.policies.values():
            peers.select(one.pods, one.id.namespace)
            for rule in (*(one.ingress or ()), *(one.egress or ())):
                for peer in rule.peers or ():
                    peers.of(peer, one.id.namespace)
        return 1000 * (time.perf_counter() - start)

    def check(self) -> None:
        """Raises AssertionError when the engine holds anything else than a new one would."""
        ruleset, fresh = self._engine.advance(self.snapshot), compile_node(self.snapshot, NODE)
        if ruleset.locals != fresh.locals or _spelled(ruleset.sets) != _spelled(fresh.sets):
            raise AssertionError("the engine ended elsewhere than a new one")


def _spelled(sets: Sets) -> dict[str, int]:
    return {id_: hash(frozenset(found.addresses)) for id_, found in sets.items()}


def _pod(site: _Site) -> list[Event]:
    return [Put(replace(site.random.choice(site.pods), labels=_some_labels(site)))]


def _local(site: _Site) -> list[Event]:
    return [Put(replace(site.random.choice(site.mine), labels=_some_labels(site)))]


def _some_labels(site: _Site) -> tuple[tuple[str, str], ...]:
    return site.random.choice(site.pods).labels


def _space(site: _Site) -> list[Event]:
    space = site.random.choice(site.spaces)
    return [Put(replace(space, labels=labels(dict(space.labels) | {"team": f"team-{site.random.randrange(40)}"})))]


def _policy(site: _Site) -> list[Event]:
    return [Put(policy(site.random, site.size, site.random.randrange(site.size.policies)))]


def _near(site: _Site) -> list[Event]:
    space = site.random.choice(site.mine).id.namespace
    return [Put(replace(policy(site.random, site.size, 0), id=PolicyId(space, "edited"), pods=EVERYTHING))]


def _whole(site: _Site) -> list[Event]:
    rule = PolicyRule((Peer(EVERYTHING, EVERYTHING),), (PolicyPort(TCP, 7000),))
    made = Policy(PolicyId(site.random.choice(site.mine).id.namespace, "whole"), EVERYTHING, (rule,))
    site.cure = [Gone(key_of(made))]
    return [Put(made)]


CHANGES: dict[str, Callable[[_Site], list[Event]]] = {
    POD: _pod,
    LOCAL: _local,
    SPACE: _space,
    POLICY: _policy,
    NEAR: _near,
    WHOLE: _whole,
}


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def _row(size: Size, what: str, unit: str, values: Sequence[float], load: float | None = None) -> Row:
    middle = median(values)
    ends = quantile(values, 0.05), quantile(values, 0.95)
    share = None if load is None else middle / load
    return Row(size.pods, size.policies, size.unique, what, unit, len(values), middle, *ends, share)


def judged(rows: list[Row]) -> Result:
    """Goals from rows. Pure."""
    large = {row.what: row for row in rows if _is(row, LARGE)}
    goals = [
        report.goal(f"{what}, ms: {_name(LARGE)}", _interval(large[what]), limit) for what, limit in LIMITS.items()
    ]
    goals.append(report.goal(f"{MEMORY}, MiB: {_name(LARGE)}", _interval(large[MEMORY]), LIMIT_MIB))
    steep = [row for row in rows if _is(row, STEEP) and row.what == LOAD]
    goals += [report.goal(f"{LOAD}, ms: {_name(STEEP)}", _interval(row), LIMIT_STEEP) for row in steep]
    for what, size, limit in ((MATRIX, MIDDLE, LIMIT_MATRIX), (LINT, FOLDER, LIMIT_LINT)):
        found = next(row for row in rows if row.what == what)
        goals.append(report.goal(f"{what}, ms: {_name(size)}", _interval(found), limit))
    goals += [report.goal(f"growth of {what}", _exactly(exponent(rows, what)), limit) for what, limit in GROWTH.items()]
    return Result(rows, goals)


def exponent(rows: Sequence[Row], what: str) -> float:
    """The slope of log(cost) over log(pods) from the small to the large size, by least squares."""
    points = [
        (math.log(row.pods), math.log(row.median))
        for size in (SMALL, MIDDLE, LARGE)
        for row in rows
        if _is(row, size) and row.what == what
    ]
    return linear_regression(*zip(*points, strict=True)).slope


def _is(row: Row, size: Size) -> bool:
    return (row.pods, row.policies, row.unique_labels) == (size.pods, size.policies, size.unique)


def _name(size: Size) -> str:
    return f"{size.pods:,} pods, {size.policies:,} policies"


def _interval(row: Row) -> Interval:
    return Interval(row.median, row.low, row.high)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value)


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = ["", "pods", "policies", "labels", "median", "5 %", "95 %", "", "of a load"]
    body = [list(_cells(row)) for row in found.rows]
    return f"engine\n{report.lay([head, *body])}\n\n" + report.goals_text("goals", found.goals, 2, "5-95 %")


def _cells(row: Row) -> Iterator[str]:
    yield row.what
    yield f"{row.pods:,}"
    yield f"{row.policies:,}"
    yield "unique" if row.unique_labels else "10 share"
    yield from (f"{value:.2f}" for value in (row.median, row.low, row.high))
    yield row.unit
    yield "" if row.of_load is None else f"1/{1 / row.of_load:,.0f}"
