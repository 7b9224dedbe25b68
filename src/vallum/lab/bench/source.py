"""`vallum bench source`: how long the world of an API takes to be known, and how much memory it holds.

A fake API server in a process of its own serves a hundred thousand pods in pages and as a stream; each trial reads all
of it in a fresh process, over HTTP, from the first connection to the first batch, and applies it as an agent does. A
real API (`--api`) is read the same way, without goals: there the server's own time counts most.
"""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from vallum.agent.world import World
from vallum.lab.bench import apipods, report
from vallum.lab.bench.engine import resident
from vallum.lab.bench.fakeapi import FakeApi
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval
from vallum.model.errors import KernelError
from vallum.model.snapshot import Batch
from vallum.sources.kube.access import Access
from vallum.sources.kube.client import Client
from vallum.sources.kube.kinds import NAMESPACES, NODES, PODS
from vallum.sources.kube.kubeconfig import from_kubeconfig
from vallum.sources.kube.watch import watch

PODS_SERVED, QUICK_PODS = 100_000, 20_000
TRIALS, QUICK_TRIALS = 7, 3
PAGES, STREAM = "pages of 500", "one stream"
LIMIT_SECONDS, LIMIT_MIB = 2.0, 60.0
"""For 100,000 pods in pages, ten of which share their labels."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way of reading one world.

    `cpu`: seconds of it that the reader's own processor took. `held`: growth of resident memory, the world applied;
    `bytes_pod`: of it a pod.
    """

    api: str
    pods: int
    labels: str
    way: str
    trials: int
    seconds: float
    seconds_low: float
    seconds_high: float
    cpu: float
    held_mib: float
    held_mib_low: float
    held_mib_high: float
    bytes_pod: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


@dataclass(frozen=True, slots=True)
class Trial:
    """One reading."""

    pods: int
    seconds: float
    cpu: float
    held: int


def run(quick: bool, kubeconfig: Path | None, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met."""
    trials = QUICK_TRIALS if quick else TRIALS
    rows = fake(QUICK_PODS if quick else PODS_SERVED, trials, uniques=not quick) if kubeconfig is None else []
    rows += [] if kubeconfig is None else real(from_kubeconfig(kubeconfig), trials)
    found = judged(rows)
    echo(report.show("source", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def fake(count: int, trials: int, *, uniques: bool) -> list[Row]:
    """From a server of our own."""
    rows = []
    for unique in (False, True) if uniques else (False,):
        with served(count, unique=unique) as url:
            labels = "unique" if unique else "10 share"
            rows += [row("fake", labels, way, apart(Access((url,)), way, trials)) for way in (PAGES, STREAM)]
    return rows


def real(access: Access, trials: int) -> list[Row]:
    """From the API that somebody has."""
    return [row(access.servers[0], "as they are", way, apart(access, way, trials)) for way in (PAGES, STREAM)]


def apart(access: Access, way: str, trials: int) -> list[Trial]:
    """Each trial in a process that has seen nothing yet."""
    found = []
    for _ in range(trials):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(trial, (access, way)))
    return found


def trial(access: Access, way: str) -> Trial:
    """Read everything once."""
    return asyncio.run(_read(access, streams=way == STREAM))


async def _read(access: Access, *, streams: bool) -> Trial:
    gc.collect()
    before, start, busy = resident(), time.perf_counter(), time.process_time()
    world = World()
    async with Client(access) as client, aclosing(watch(client, "node-0", streams=streams)) as source:
        async for found in source:
            if isinstance(found, Batch):
                world.apply(found)
                break
            if found.text:
                raise KernelError(f"bench source: {found.text}")
        taken, cpu = time.perf_counter() - start, time.process_time() - busy
        del found
        gc.collect()
        return Trial(len(world.snapshot.pods), taken, cpu, resident() - before)


@contextmanager
def served(count: int, *, unique: bool) -> Iterator[str]:
    """The address of a fake API with so many pods, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, count, unique), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection, count: int, unique: bool) -> None:
    async def serve() -> None:
        api = FakeApi()
        api.load(PODS.path, apipods.pods(count, unique=unique))
        api.load(NODES.path, apipods.nodes(count))
        api.load(NAMESPACES.path, apipods.spaces())
        gc.freeze()
        await api.start()
        told.send(api.url)
        await asyncio.Event().wait()

    asyncio.run(serve())


def row(api: str, labels: str, way: str, trials: Sequence[Trial]) -> Row:
    """What came of the trials: the median, the least and the most."""
    seconds, held = [each.seconds for each in trials], [each.held / 2**20 for each in trials]
    count = trials[0].pods
    taken = (median(seconds), min(seconds), max(seconds), median(each.cpu for each in trials))
    memory = (median(held), min(held), max(held), median(held) * 2**20 / max(count, 1))
    return Row(api, count, labels, way, len(trials), *taken, *memory)


def judged(rows: list[Row]) -> Result:
    """Goals from rows. Pure."""
    goals = []
    for one in rows:
        if (one.api, one.way, one.labels) == ("fake", PAGES, "10 share"):
            share = one.pods / PODS_SERVED
            what = f"{one.pods:,} pods in pages"
            taken = Interval(one.seconds, one.seconds_low, one.seconds_high)
            held = Interval(one.held_mib, one.held_mib_low, one.held_mib_high)
            goals.append(report.goal(f"{what}, seconds", taken, LIMIT_SECONDS * share))
            goals.append(report.goal(f"{what}, MiB held", held, LIMIT_MIB * share))
    return Result(rows, goals)


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = [
        "API",
        "labels",
        "way",
        "pods",
        "trials",
        "seconds",
        "least-most",
        "CPU",
        "MiB held",
        "least-most",
        "bytes a pod",
    ]
    body = [
        [
            *(one.api, one.labels, one.way, f"{one.pods:,}", str(one.trials)),
            *(f"{one.seconds:.2f}", f"{one.seconds_low:.2f}-{one.seconds_high:.2f}", f"{one.cpu:.2f}"),
            *(f"{one.held_mib:.1f}", f"{one.held_mib_low:.1f}-{one.held_mib_high:.1f}", f"{one.bytes_pod:.0f}"),
        ]
        for one in found.rows
    ]
    goals = f"\n\n{report.goals_text('goals', found.goals, 2, 'least-most')}" if found.goals else ""
    return f"source\n{report.lay([head, *body], text=3)}{goals}"
