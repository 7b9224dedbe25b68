"""`vallum bench restore`: another program breaks our table; how long until the kernel holds it again?

A shop on two nodes with real agents. `nft` does damage on one node, fifty times in each of five ways, while a denied
flow keeps trying. The clock runs from the commit of the damage, as the kernel announces it, until the table is read
back equal, and until the last packet that slipped through; `status` must name the program and what it did. What it
ignores: larger worlds, where a repair takes the time of a cold start.
"""

import asyncio
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vallum.dataplane.nftables.plane import NftablesPlane
from vallum.dataplane.nftables.program import TABLE, Program
from vallum.kernel import netns
from vallum.kernel.nftwatch import NftWatch, Overflow
from vallum.lab.bench import report
from vallum.lab.bench.damage import KINDS, Damage
from vallum.lab.bench.fire import INTERVAL, Fire
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile
from vallum.lab.lab import Lab, LabSettings, started
from vallum.model.errors import KernelError
from vallum.model.objects import Object, PodId

VICTIM, SHOOTER = PodId("data", "db"), PodId("guest", "outsider")
"""Of examples/shop: nobody but the api may speak to the one, and nothing keeps the other from trying."""
LIMIT = 100.0
"""Milliseconds (stance 22)."""
TRIALS, QUICK_TRIALS = 50, 10
PATIENCE = 10.0
"""Seconds after which a repair that does not come is an error."""
_GLANCE = 0.1
CALM = 20
"""Datagrams refused in a row that show that the packets obey."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One damage. Milliseconds from its commit; `started`: from the start of nft to the table read back."""

    restored: float
    obeyed: float
    started: float
    leaked: int
    by: str
    how: str


@dataclass(frozen=True, slots=True)
class Row:
    """All trials of one kind of damage. Milliseconds; `leaked` datagrams arrived; `named` trials stood in status."""

    damage: str
    trials: int
    restored_p50_ms: float
    restored_p99_ms: float
    restored_max_ms: float
    obeyed_p50_ms: float
    obeyed_p99_ms: float
    obeyed_max_ms: float
    started_p99_ms: float
    leaked: int
    named: int
    status: str


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


def run(objects: tuple[Object, ...], quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure in the world of examples/shop and print. Returns 0, or 1 where a goal is not met.

    Raises InputErrors for a world that no lab can hold, KernelError when a lab, an agent or nft fails.
    """
    trials = QUICK_TRIALS if quick else TRIALS
    found = in_sandbox(lambda: asyncio.run(measured(objects, trials)), Result, Path("/"))
    echo(report.show("restore", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


async def measured(objects: tuple[Object, ...], trials: int, kinds: Sequence[Damage] = KINDS) -> Result:
    """A lab, and all trials in it, kinds in turn, so that what the machine does meanwhile falls on all of them."""
    async with started(LabSettings(), objects) as lab:
        site = _Site(lab)
        found: dict[str, list[Trial]] = {kind.name: [] for kind in kinds}
        try:
            for _ in range(trials):
                for kind in kinds:
                    found[kind.name].append(await site.trial(kind))
        finally:
            site.close()
    return judged([(kind, found[kind.name]) for kind in kinds])


def judged(found: Sequence[tuple[Damage, Sequence[Trial]]]) -> Result:
    """Rows and goals from trials. Pure."""
    rows = [_row(kind, trials) for kind, trials in found]
    goals = [goal for kind, trials in found for goal in _goals(kind, trials)]
    unnamed = sum(row.trials - row.named for row in rows)
    return Result(rows, [*goals, report.none_of("repairs that status does not explain", unnamed)])


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = ["damage by nft", "trials", "restored p50", "p99", "slowest", "packets obey p50", "p99", "slowest"]
    body = [
        [
            *(row.damage, str(row.trials)),
            *(f"{row.restored_p50_ms:.1f}", f"{row.restored_p99_ms:.1f}", f"{row.restored_max_ms:.1f}"),
            *(f"{row.obeyed_p50_ms:.1f}", f"{row.obeyed_p99_ms:.1f}", f"{row.obeyed_max_ms:.1f}"),
            *(f"{row.started_p99_ms:.1f}", str(row.leaked), f"{row.named} of {row.trials}", row.status),
        ]
        for row in found.rows
    ]
    table = report.lay([[*head, "since nft began p99", "leaked", "named", "status says"], *body])
    title = "Goals (the slowest trial has to stay within the limit: so few bound a p99 no better)"
    goals = report.goals_text(title, found.goals, digits=1, between="p50 to slowest")
    return f"Milliseconds from nft's commit until the table stands again\n{table}\n\n{goals}"


def explains(kind: Damage, trial: Trial) -> bool:
    """Reports whether status named the program and what it did."""
    return trial.by.startswith("nft[") and kind.word in trial.how


def _row(kind: Damage, trials: Sequence[Trial]) -> Row:
    restored = [trial.restored for trial in trials]
    obeyed = [trial.obeyed for trial in trials]
    return Row(
        *(kind.name, len(trials)),
        *(quantile(restored, 0.5), quantile(restored, 0.99), max(restored)),
        *(quantile(obeyed, 0.5), quantile(obeyed, 0.99), max(obeyed)),
        quantile([trial.started for trial in trials], 0.99),
        sum(trial.leaked for trial in trials),
        sum(explains(kind, trial) for trial in trials),
        f"nft: {trials[-1].how}",
    )


def _goals(kind: Damage, trials: Sequence[Trial]) -> list[Goal]:
    restored = [trial.restored for trial in trials]
    obeyed = [trial.obeyed for trial in trials]
    return [
        report.goal(f"{kind.name}: the table stands again, p99 in ms", _p99(restored), LIMIT),
        report.goal(f"{kind.name}: packets obey again, p99 in ms", _p99(obeyed), LIMIT),
    ]


def _p99(values: Sequence[float]) -> Interval:
    """Fewer than 299 samples hold no upper bound of a p99, so the slowest of them has to stay within the limit."""
    return Interval(quantile(values, 0.99), quantile(values, 0.5), max(values))


class _Site:
    """Where the damage is done: the victim's node, with everything that watches it."""

    def __init__(self, lab: Lab) -> None:
        plan = next(pod for pod in lab.topology.pods if pod.pod == VICTIM)
        self._agent = lab.agents[plan.node]
        self._place = lab.topology.node_of(plan.node).netns
        self._victim = next(address for address in plan.addresses if address.version == 4)
        self._fire = Fire(lab.topology.namespace_of(SHOOTER), plan.netns, self._victim)
        with netns.entered(self._place):
            self._plane = NftablesPlane()
            self._watch = NftWatch(TABLE)

    def close(self) -> None:
        """Close what was opened."""
        self._fire.close()
        self._watch.close()

    async def trial(self, kind: Damage) -> Trial:
        """Do the damage, wait for the repair. Raises KernelError when it does not come."""
        before = self._agent.status["repaired"]
        times = await asyncio.to_thread(self._damage, kind)
        status = await self._agent.until(lambda status: status["repaired"] > before, PATIENCE)
        last = status["repairs"][-1]
        return Trial(*times, last["by"], last["how"])

    def _damage(self, kind: Damage) -> tuple[float, float, float, int]:
        good = self._plane.read()
        if good is None:
            raise KernelError("the table that the agent holds is not there")
        words = kind.command(self._ended(self._nft("-a", "list", "table", "inet", TABLE)), self._victim)
        self._watch.drain()
        with self._fire.burning():
            start = time.monotonic()
            nft = self._nft(*words)
            broken, whole = self._repair(good, nft)
            while self._fire.refused(whole) < CALM:
                self._patience(whole, f"{kind.name}: the table stands again and packets still get through")
                select.select([], [], [], INTERVAL)
            self._ended(nft)
        last = max(self._fire.arrived, default=broken)
        obeyed = max(0.0, last - broken)
        return 1000 * (whole - broken), 1000 * obeyed, 1000 * (whole - start), len(self._fire.arrived)

    def _repair(self, good: Program, nft: "subprocess.Popen[str]") -> tuple[float, float]:
        """When the damage was committed, and when the table was first read back as it was before."""
        start, broken = time.monotonic(), None
        while True:
            self._patience(start, "nobody restored the table")
            if not select.select([self._watch], [], [], _GLANCE)[0] and nft.poll():
                self._ended(nft)  # it was refused, and says why
            seen = time.monotonic()
            for event in self._watch.drain():
                if isinstance(event, Overflow):
                    raise KernelError("events of nftables were lost; the trial says nothing")
                if broken is None:
                    broken = seen if event.program == "nft" else None
                elif self._plane.read() == good:
                    return broken, time.monotonic()

    def _patience(self, since: float, problem: str) -> None:
        if time.monotonic() - since > PATIENCE:
            raise KernelError(
                f"{problem} in {PATIENCE:.0f} s; the agent says: {self._agent.log().strip() or 'nothing'}"
            )

    def _nft(self, *words: str) -> "subprocess.Popen[str]":
        with netns.entered(self._place):
            return subprocess.Popen(["nft", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _ended(self, nft: "subprocess.Popen[str]") -> str:
        said, problem = nft.communicate()
        if nft.returncode:
            raise KernelError(f"nft was refused: {problem.strip()}")
        return said
