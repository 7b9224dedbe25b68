"""`vallum bench repair`: somebody breaks a road between nodes; how long until packets arrive again?

Two nodes with real agents over each back end, and a datagram a millisecond from pod to pod. An administrator's commands
delete what the road is made of, one thing after the other. What counts is the longest silence at the receiver, and
that `status` names what was repaired. What it ignores: rules (`restore`), and roads that nobody breaks.
"""

import asyncio
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vallum.kernel import netns
from vallum.lab.bench import report
from vallum.lab.bench.fire import INTERVAL, Fire
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile
from vallum.lab.lab import Lab, LabSettings, started
from vallum.model.address import Address, Network
from vallum.model.errors import KernelError
from vallum.model.objects import NAME_LABEL, Namespace, Object, Pod, PodId
from vallum.model.selector import labels

LIMIT = 1000.0
"""Milliseconds."""
TRIALS, QUICK_TRIALS = 30, 5
PATIENCE = 10.0
"""Seconds after which a repair that does not come is an error."""
CALM = 20
"""Datagrams that arrive before the damage, and after the repair."""
DEVICES = {"ipip": "vallum.ipip", "vxlan": "vallum.vxlan4"}
WORLD: tuple[Object, ...] = (
    Namespace("a", labels({NAME_LABEL: "a"})),
    *(Pod(PodId("a", f"p{number}"), node=f"node{number}") for number in (1, 2)),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a command needs to know: the ranges and the address of the other node, and the device that leads there."""

    range: Network
    peer: Address
    device: str
    run: Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Damage:
    """`name` for people; `word` is what `status` must say was repaired; `command` as it is typed on the node."""

    name: str
    word: Callable[[Place], str]
    command: Callable[[Place], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One damage: milliseconds without a packet, and what status said was repaired."""

    silence: float
    said: tuple[str, ...]
    named: bool


@dataclass(frozen=True, slots=True)
class Row:
    """All trials of one kind of damage on one road. Milliseconds; `named` trials stood in status."""

    road: str
    damage: str
    trials: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    named: int
    status: str


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


def _hardware_address(place: Place) -> str:
    """The MAC under which the other node's device is known."""
    lines = place.run(("bridge", "fdb", "show", "dev", place.device)).splitlines()
    return next(line.split()[0] for line in lines if f"dst {place.peer} " in line)


_ROUTE = Damage("delete route", lambda place: str(place.range), lambda place: ("ip", "route", "del", str(place.range)))
_DEVICE = Damage("delete device", lambda place: place.device, lambda place: ("ip", "link", "del", place.device))
_NEIGHBOUR = Damage(
    "delete neighbour",
    lambda place: str(place.peer),
    lambda place: ("ip", "neigh", "del", str(place.peer), "dev", place.device),
)
_FORWARD = Damage(
    "delete fdb entry",
    lambda place: place.device,
    lambda place: ("bridge", "fdb", "del", _hardware_address(place), "dev", place.device),
)
KINDS = {"hostgw": (_ROUTE,), "ipip": (_ROUTE, _DEVICE), "vxlan": (_ROUTE, _DEVICE, _NEIGHBOUR, _FORWARD)}
"""By road."""


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met.

    Raises KernelError when a lab, an agent or a command fails.
    """
    trials = QUICK_TRIALS if quick else TRIALS
    found = in_sandbox(lambda: asyncio.run(measured(trials)), Result, Path("/"))
    echo(report.show("repair", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


async def measured(trials: int, kinds: dict[str, tuple[Damage, ...]] = KINDS) -> Result:
    """A lab a road, and all its trials in it, kinds in turn."""
    found = []
    for road, damages in kinds.items():
        folder = Path(f"/run/vallum-lab-{road}")
        settings = LabSettings(2, backend=road, subnets=2 if road in DEVICES else 1, folder=folder)
        async with started(settings, WORLD) as lab:
            site = _Site(lab, road)
            try:
                rounds = [[await site.trial(damage) for damage in damages] for _ in range(trials)]
            finally:
                site.close()
        found += [(road, damage, [each[at] for each in rounds]) for at, damage in enumerate(damages)]
    return judged(found)


def judged(found: Sequence[tuple[str, Damage, Sequence[Trial]]]) -> Result:
    """Rows and goals from trials. Pure."""
    rows = [_row(road, damage, trials) for road, damage, trials in found]
    goals = [
        report.goal(
            f"{row.road}, {row.damage}: silence, slowest in ms", Interval(row.max_ms, row.p50_ms, row.max_ms), LIMIT
        )
        for row in rows
    ]
    unnamed = sum(row.trials - row.named for row in rows)
    return Result(rows, [*goals, report.none_of("repairs that status does not name", unnamed)])


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = ["road", "damage", "trials", "silence p50", "p99", "slowest", "named", "status says"]
    body = [
        [
            *(row.road, row.damage, str(row.trials), f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{row.max_ms:.1f}"),
            *(f"{row.named} of {row.trials}", row.status),
        ]
        for row in found.rows
    ]
    goals = report.goals_text("Goals", found.goals, digits=1, between="p50 to slowest")
    return f"Milliseconds without a packet after somebody broke a road\n{report.lay([head, *body], text=2)}\n\n{goals}"


def silence(arrived: Sequence[float], since: float) -> float:
    """The longest time between two datagrams that arrived, of which the later was sent after `since`. Pure."""
    return max((after - before for before, after in pairwise(arrived) if after > since), default=0.0)


def _row(road: str, damage: Damage, trials: Sequence[Trial]) -> Row:
    times = [trial.silence for trial in trials]
    return Row(
        *(road, damage.name, len(trials), quantile(times, 0.5), quantile(times, 0.99), max(times)),
        sum(trial.named for trial in trials),
        "; ".join(trials[-1].said),
    )


class _Site:
    """Node 1, where the damage is done, and the flow from its pod to that of node 2."""

    def __init__(self, lab: Lab, road: str) -> None:
        here, there = lab.topology.nodes
        pods = lab.topology.pods
        self._agent = lab.agents[here.name]
        self._netns = here.netns
        self._fire = Fire(pods[0].netns, pods[1].netns, pods[1].addresses[0])
        self._place = Place(there.pod_ranges[0], there.addresses[0].ip, DEVICES.get(road, ""), self._run)

    def close(self) -> None:
        """Close the flow's sockets."""
        self._fire.close()

    async def trial(self, damage: Damage) -> Trial:
        """Do the damage, wait for the repair and for packets. Raises KernelError when they do not come."""
        repaired = self._agent.status["repaired"]
        with self._fire.burning():
            await self._flowing(damage, time.monotonic())
            words, word = damage.command(self._place), damage.word(self._place)
            since = time.monotonic()
            await asyncio.to_thread(self._run, words)
            status = await self._agent.until(lambda status: status["repaired"] > repaired, PATIENCE)
            await self._flowing(damage, time.monotonic())
        new = status["repairs"][repaired - status["repaired"] :]
        said = tuple(f"{each['what']}: {each['how']}" for each in new)
        return Trial(1000 * silence(sorted(self._fire.arrived), since), said, any(word in each for each in said))

    async def _flowing(self, damage: Damage, since: float) -> None:
        """Wait until datagrams that were sent after `since` arrive."""
        while sum(when > since for when in tuple(self._fire.arrived)) < CALM:
            if time.monotonic() > since + PATIENCE:
                raise KernelError(f"{damage.name}: no packet arrives; the agent says: {self._agent.log().strip()}")
            await asyncio.sleep(INTERVAL)

    def _run(self, words: Sequence[str]) -> str:
        with netns.entered(self._netns):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KernelError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout
