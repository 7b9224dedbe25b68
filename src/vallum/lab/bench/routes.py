"""`vallum bench routes`: what the roads to a thousand nodes cost, in time and memory, and how that grows.

One node of a cluster, in a sandbox: every other node has one block. Planned by the back ends and laid by `kernel.sync`
into a real kernel, all at once and when one node comes or goes; in the end a sync that reads everything must find
nothing to do, otherwise nothing is measured. What it ignores: packets, and the gate, which other benches measure.
"""

import gc
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from statistics import linear_regression, median
from typing import TypeVar

import vallum
from vallum.kernel import ground
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import Standing, SyncReport, sync
from vallum.lab.bench import report
from vallum.lab.bench.engine import resident
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile
from vallum.model.errors import KernelError
from vallum.model.ground import Ground
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import ROUTE_PROTOCOL, Wiring
from vallum.network import roads
from vallum.network.options import Defaults, Options

SIZES = (1_000, 3_000, 10_000)
STATED = SIZES[0]
BACKENDS = ("hostgw", "vxlan")
TRIALS, QUICK_TRIALS = 200, 40
COLDS, QUICK_COLDS = 9, 3
NODE, UPLINK = "node-0", "up0"

WAYS, PLAN, COLD, READ = "ask the way to every node", "plan", "lay all, kernel empty", "read all, nothing to do"
MEND, SEND, ONE, MEMORY = "read all, mend one", "send one node", "plan and send one node", "memory"
FEW = "lay all by ten gateways"
"""Beside the same by a gateway each: Linux looks through all gateways of a device for each IPv4 route that it adds."""
LIMITS = {COLD: 1000.0, ONE: 10.0}
"""Milliseconds at the smallest size, 95 of 100 trials."""
GROWTH = {COLD: 1.15, ONE: 1.15, MEMORY: 1.1}
"""The exponent from the smallest to the largest size: cost ~ nodes ** exponent."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `unit`: ms or MiB; `low` and `high` hold 90 of 100 trials."""

    backend: str
    nodes: int
    what: str
    unit: str
    trials: int
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met. Raises KernelError where namespaces are refused."""
    trials, colds = (QUICK_TRIALS, QUICK_COLDS) if quick else (TRIALS, COLDS)
    rows = []
    for backend in BACKENDS:
        for nodes in SIZES:
            _tell(f"{backend}, {nodes:,} nodes")
            work = partial(measured, backend, nodes, trials, colds)
            rows += in_sandbox(work, list[Row], Path(vallum.__file__).parent)
    found = judged(rows)
    echo(report.show("routes", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def measured(backend: str, nodes: int, trials: int, colds: int) -> list[Row]:
    """All figures of one back end and size, in the namespaces of this process."""
    site = Site(backend, nodes)
    gc.collect()
    gc.freeze()
    before = resident()
    site.lay()
    gc.collect()
    memory = resident() - before
    gc.freeze()
    for _ in range(colds - 1):
        site.clear()
        site.lay_by_few()
        site.clear()
        site.lay()
    for _ in range(colds):
        site.look()
        site.read()
        site.mend()
    for _ in range(trials):
        site.change()
    site.check()
    rows = [_row(backend, nodes, what, "ms", values) for what, values in site.samples.items()]
    return [*rows, _row(backend, nodes, MEMORY, "MiB", [memory / 2**20])]


@dataclass(slots=True)
class Site:
    """A node with a link, and the other nodes of its cluster on it, as words only."""

    backend: str
    count: int
    samples: dict[str, list[float]] = field(
        default_factory=lambda: {what: [] for what in (WAYS, PLAN, COLD, FEW, READ, MEND, SEND, ONE)}
    )
    _snapshot: Snapshot = field(default_factory=Snapshot)
    _ground: Ground = field(default_factory=Ground)
    _wish: Wiring = field(default_factory=Wiring)
    _standing: Standing = field(default_factory=Standing)
    _random: random.Random = field(default_factory=lambda: random.Random(7))
    _away: Node | None = None

    def __post_init__(self) -> None:
        nodes = (_node(number) for number in range(self.count + 1))
        self._snapshot = Snapshot(nodes={node.name: node for node in nodes})
        with Rtnetlink() as netlink:
            netlink.add_veth(UPLINK, "up1", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1500)
            netlink.set_link("up1", up=True)
            netlink.add_address(UPLINK, ip_interface(f"{_node(0).addresses[0]}/12"))

    def lay(self) -> None:
        """Everything, into a kernel that holds nothing of ours."""
        self.look()
        self._plan()
        self._done(self._timed(COLD, sync, self._wish), self.count)

    def lay_by_few(self) -> None:
        """The same, by the gateways of ten nodes."""
        gateways = [route.gateway for route in self._wish.routes][:10]
        few = (replace(route, gateway=gateways[at % 10]) for at, route in enumerate(self._wish.routes))
        self._done(self._timed(FEW, sync, replace(self._wish, routes=frozenset(few))), self.count)

    def clear(self) -> None:
        """As before `lay`."""
        sync(Wiring())
        self._standing = Standing()

    def look(self) -> None:
        """The way to every other node."""
        addresses = [node.addresses[0] for node in self._snapshot.nodes.values() if node.name != NODE]
        self._ground = self._timed(WAYS, ground.look, addresses)

    def read(self) -> None:
        """A look at everything, as after any change of links."""
        self._done(self._timed(READ, sync, self._wish, self._standing), 0)

    def mend(self) -> None:
        """Somebody deletes a route."""
        route = self._random.choice(sorted(self._wish.routes, key=str))
        with Rtnetlink() as netlink:
            netlink.delete_route(route.destination, protocol=ROUTE_PROTOCOL)
        self._done(self._timed(MEND, sync, self._wish, self._standing), 1, drift=1)

    def change(self) -> None:
        """A node leaves, or the one that left comes back."""
        nodes = dict(self._snapshot.nodes)
        if self._away is None:
            self._away = nodes.pop(_node(self._random.randrange(1, self.count + 1)).name)
        else:
            nodes[self._away.name], self._away = self._away, None
        self._snapshot = replace(self._snapshot, nodes=nodes)
        start = time.perf_counter()
        self._plan()
        self._done(self._timed(SEND, partial(sync, moved=False), self._wish, self._standing), 1)
        self.samples[ONE].append(1000 * (time.perf_counter() - start))

    def check(self) -> None:
        """Raises KernelError where the kernel holds anything else than what was wished."""
        self._done(sync(self._wish, self._standing), 0)

    def _plan(self) -> None:
        options = Options(self._ground, sources=(ip_address("10.0.0.0"),))
        self._wish = self._timed(PLAN, roads.plan, self._snapshot, NODE, Defaults(self.backend), options)

    def _timed(self, what: str, do: Callable[..., Answer], *words: object) -> Answer:
        start = time.perf_counter()
        found = do(*words)
        self.samples[what].append(1000 * (time.perf_counter() - start))
        return found

    def _done(self, found: SyncReport, routes: int, drift: int = 0) -> None:
        """Raises KernelError where a sync did something else than it had to."""
        touched = {getattr(each, "destination", None) for each in (*found.added, *found.replaced, *found.removed)}
        count = len(touched - {None})
        if found.problems or count != routes or len(found.drift) != drift:
            first = f"; {found.problems[0].subject}: {found.problems[0].text}" if found.problems else ""
            raise KernelError(f"a sync changed {count} routes instead of {routes}, drift {found.drift}{first}")
        self._standing = found.standing


def _node(number: int) -> Node:
    """Node 0 is the one that is measured. Every node has a /24."""
    address = ip_address(int(ip_address("172.16.0.1")) + number)
    block = ip_network((int(ip_address("10.0.0.0")) + (number << 8), 24))
    return Node(f"node-{number}", addresses=(address,), pod_ranges=(block,))


def _row(backend: str, nodes: int, what: str, unit: str, values: Sequence[float]) -> Row:
    ends = quantile(values, 0.05), quantile(values, 0.95)
    return Row(backend, nodes, what, unit, len(values), median(values), *ends)


# Judgement, pure


def judged(rows: list[Row]) -> Result:
    """Goals from rows."""
    goals = []
    for backend in dict.fromkeys(row.backend for row in rows):
        mine = [row for row in rows if row.backend == backend]
        for what, limit in LIMITS.items():
            row = next(row for row in mine if (row.what, row.nodes) == (what, STATED))
            name = f"{what}, ms: {backend}, {STATED:,} nodes"
            goals.append(report.goal(name, Interval(row.median, row.low, row.high), limit))
        for what, limit in GROWTH.items():
            slope = exponent(mine, what)
            goals.append(report.goal(f"growth of {what}: {backend}", Interval(slope, slope, slope), limit))
    return Result(rows, goals)


def exponent(rows: Sequence[Row], what: str) -> float:
    """The slope of log(cost) over log(nodes), by least squares."""
    points = [(math.log(row.nodes), math.log(row.median)) for row in rows if row.what == what]
    return linear_regression(*zip(*points, strict=True)).slope


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = ["", "back end", "nodes", "trials", "median", "5 %", "95 %", ""]
    body = [list(_cells(row)) for row in found.rows]
    return f"routes\n{report.lay([head, *body], text=2)}\n\n" + report.goals_text("goals", found.goals, 2, "5-95 %")


def _cells(row: Row) -> Iterator[str]:
    yield row.what
    yield row.backend
    yield f"{row.nodes:,}"
    yield f"{row.trials:,}"
    yield from (f"{value:.2f}" for value in (row.median, row.low, row.high))
    yield row.unit


def _tell(text: str) -> None:
    """Progress, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")
