"""`vallum bench latency`: a policy or a label changes through the API; when does the first packet obey?

On the real cluster of lab.kube: a receiver on one node, a sender on the other, a datagram every half
millisecond, a crowd of pods and policies beside. The clock runs from the API's answer, on one machine and one clock,
until the first datagram that obeys was sent; what the agent says of its own moments splits that. What it ignores:
clusters whose API server is far away.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

from vallum.lab.bench import gates, kubecrowd, report
from vallum.lab.bench.fire import Fire
from vallum.lab.bench.gates import HERE, RECEIVER, Gate
from vallum.lab.bench.kubesite import Answer, Line, in_cluster, inside_of, send_all
from vallum.lab.bench.moments import Moments, Watcher
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import quantile, quantile_interval
from vallum.lab.kube import agents
from vallum.lab.kube.cluster import KubeCluster
from vallum.model.errors import KernelError

POLICIES = 1000
CROWDS, QUICK_CROWDS = (1000, 10_000), (1000,)
TRIALS, QUICK_TRIALS = 170, 20
"""Of each change in each direction: six of them make a thousand in full, enough to bound a p99."""
HALF, MOST = 10.0, 20.0
"""Milliseconds: the limits of p50 and p99 at 1,000 pods; with more pods they are reported beside."""
INTERVAL = 0.0005
CALM = 20
PATIENCE = 10.0
_GLANCE = 0.0005
_BEFORE = 0.008
"""Seconds of fire before a change, in which the gate must be as the last trial left it."""
_QUIET = 1.5
"""Seconds without news from the agent after which a crowd has been digested."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One change. Milliseconds: `api` until it answered, `obeyed` from then on; the next four are parts of `obeyed`.

    From before the change until it was obeyed the agent `worked` on a processor, and `queued` for one.
    """

    api: float
    obeyed: float
    watch: float
    compile: float
    apply: float
    kernel: float
    worked: float = 0.0
    queued: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """All trials of one change in one direction. Milliseconds; the parts are medians."""

    pods: int
    policies: int
    change: str
    direction: str
    trials: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    watch_ms: float
    compile_ms: float
    apply_ms: float
    kernel_ms: float
    worked_ms: float
    queued_ms: float
    api_p50_ms: float
    api_p99_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


@dataclass(frozen=True, slots=True)
class Series:
    """Trials under one crowd."""

    pods: int
    change: str
    direction: str
    trials: tuple[Trial, ...]


def run(quick: bool, pods: int | None, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met. Raises InputError, KernelError."""
    crowds = (pods,) if pods is not None else QUICK_CROWDS if quick else CROWDS
    trials = QUICK_TRIALS if quick else TRIALS
    found = in_cluster(lambda cluster: measured(cluster, crowds, trials, POLICIES), Result)
    echo(report.show("latency", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def measured(cluster: KubeCluster, crowds: Sequence[int], trials: int, policies: int) -> Result:
    """All trials under each crowd, which only grows. Raises KernelError."""
    cluster.api.apply(gates.world())
    pair = [each for each in gates.world() if each["kind"] == "Pod"]
    receiver, sender = (ip_address(each["status"]["podIP"]) for each in cluster.wait_ready(pair))
    cluster.api.apply(kubecrowd.spaces())
    for space in kubecrowd.spaces():
        if space["kind"] == "Namespace":
            cluster.api.await_account(space["metadata"]["name"])
    send_all(cluster.api, kubecrowd.policies(policies, HERE, {"app": RECEIVER}))
    here, there = cluster.layouts[:2]
    found: list[Series] = []
    with inside_of(here, receiver) as inside, inside_of(there, sender) as outside:
        site = _Site(cluster, Fire(outside, inside, receiver, INTERVAL), Watcher(agents.socket_of(here)))
        try:
            standing = 0
            for crowd in crowds:
                send_all(cluster.api, kubecrowd.pods(crowd - standing, standing))
                send_all(cluster.api, kubecrowd.statuses(crowd - standing, standing))
                standing = crowd
                site.settle()
                found += site.series(crowd, trials)
        finally:
            site.close()
    return judged(found, policies)


def judged(found: Sequence[Series], policies: int) -> Result:
    """Rows and goals from trials. Pure."""
    rows = [_row(series, policies) for series in found]
    least = min((series.pods for series in found), default=0)
    obeyed = [trial.obeyed for series in found if series.pods == least for trial in series.trials]
    where = f"{policies:,} policies and {least:,} other pods, every change, both directions"
    goals = [
        report.goal(f"p50 in ms from the API's answer: {where}", quantile_interval(obeyed, 0.5), HALF),
        report.goal(f"p99 in ms from the API's answer: {where}", quantile_interval(obeyed, 0.99), MOST),
    ]
    return Result(rows, goals)


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = ["change", "", "pods", "trials", "p50", "p99", "p99.9", "slowest"]
    head += ["watch", "compile", "apply", "kernel", "worked", "queued", "API p50", "p99"]
    body = [
        [
            *(row.change, row.direction, f"{row.pods:,}", str(row.trials)),
            *(f"{value:.1f}" for value in (row.p50_ms, row.p99_ms, row.p999_ms, row.max_ms)),
            *(f"{value:.1f}" for value in (row.watch_ms, row.compile_ms, row.apply_ms, row.kernel_ms)),
            *(f"{value:.1f}" for value in (row.worked_ms, row.queued_ms)),
            *(f"{value:.1f}" for value in (row.api_p50_ms, row.api_p99_ms)),
        ]
        for row in found.rows
    ]
    title = (
        "Milliseconds from the API's answer to the first packet that obeys; its parts as medians; what the agent "
        "worked and queued for a processor; the API's own beside"
    )
    return f"{title}\n{report.lay([head, *body], text=2)}\n\n{report.goals_text('Goals', found.goals, digits=1)}"


def parts(answer: Answer, obeyed: float, moments: Moments | None) -> Trial:
    """A trial from its moments. What the agent did before the API had answered shows as a negative part."""
    api, whole = answer.answered - answer.asked, obeyed - answer.answered
    if moments is None:
        raise KernelError("the agent told of no reconcile between the change and the packet that obeys")
    spans = (
        moments.heard - answer.answered,
        moments.compiled - moments.heard,
        moments.applied - moments.compiled,
        obeyed - moments.applied,
    )
    return Trial(1000 * api, 1000 * whole, *(1000 * span for span in spans))


def _row(series: Series, policies: int) -> Row:
    trials = series.trials
    obeyed = [trial.obeyed for trial in trials]
    api = [trial.api for trial in trials]
    medians = (quantile([getattr(trial, name) for trial in trials], 0.5) for name in _PARTS)
    return Row(
        *(series.pods, policies, series.change, series.direction, len(trials)),
        *(quantile(obeyed, part) for part in (0.5, 0.99, 0.999, 1.0)),
        *medians,
        *(quantile(api, part) for part in (0.5, 0.99)),
    )


_PARTS = ("watch", "compile", "apply", "kernel", "worked", "queued")


def scheduled(pid: int) -> tuple[float, float]:
    """Milliseconds that the threads of a process ran, and that they could have and waited (proc_pid_schedstat(5))."""
    texts = [each.read_text(encoding="ascii") for each in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    ran, waited = (sum(int(text.split()[at]) for text in texts) for at in (0, 1))
    return ran / 1e6, waited / 1e6


class _Site:
    """Where changes are made and packets counted."""

    def __init__(self, cluster: KubeCluster, fire: Fire, watcher: Watcher) -> None:
        self._cluster = cluster
        self._pid = cluster.agents[cluster.layouts[0].name].pid
        self._fire = fire
        self._watcher = watcher
        self._line = Line(cluster.api)
        self._random = Random(1)

    def close(self) -> None:
        """Close what was opened."""
        self._fire.close()
        self._watcher.close()
        self._line.close()

    def settle(self) -> None:
        """Wait until the agent has nothing more to do. Raises KernelError after a minute of work."""
        deadline = time.monotonic() + 60
        while time.monotonic() - self._watcher.last() < _QUIET:
            if time.monotonic() > deadline:
                raise KernelError("the agent does not come to rest after the crowd was made")
            time.sleep(_GLANCE)

    def series(self, crowd: int, trials: int) -> list[Series]:
        """Gates in turn, so that what the machine does meanwhile falls on all of them."""
        found: dict[tuple[str, str], list[Trial]] = {}
        for _ in range(trials):
            for gate in gates.gates():
                found.setdefault((gate.name, "opens"), []).append(self._trial(gate, opens=True))
                found.setdefault((gate.name, "shuts"), []).append(self._trial(gate, opens=False))
        return [Series(crowd, *key, tuple(made)) for key, made in found.items()]

    def _trial(self, gate: Gate, *, opens: bool) -> Trial:
        request = gate.opened if opens else gate.shut
        with self._fire.burning():
            time.sleep(_BEFORE + self._random.random() * _BEFORE)
            self._as_left(gate, opens=not opens)
            before = scheduled(self._pid)
            answer = self._line.send(request.method, request.path, request.body, request.kind)
            obeyed = self._first(answer) if opens else self._after_last(answer)
            worked, queued = (now - then for now, then in zip(scheduled(self._pid), before, strict=True))
        found = parts(answer, obeyed, self._watcher.nearest(obeyed, answer.asked, PATIENCE))
        return replace(found, worked=worked, queued=queued)

    def _as_left(self, gate: Gate, *, opens: bool) -> None:
        """Raises KernelError where the gate is not as the trial before left it; a busy machine may send late."""
        deadline = time.monotonic() + PATIENCE
        while opens and not self._fire.arrived:
            if time.monotonic() > deadline:
                raise KernelError(f"{gate.name}: the trial before opened the gate, and nothing gets through")
            time.sleep(_GLANCE)
        if not opens and self._fire.arrived:
            raise KernelError(f"{gate.name}: the trial before shut the gate, and packets get through")

    def _first(self, answer: Answer) -> float:
        while not self._fire.arrived:
            self._wait(answer, "nothing gets through")
        return self._fire.arrived[0]

    def _after_last(self, answer: Answer) -> float:
        while self._fire.refused(answer.asked) < CALM:
            self._wait(answer, "packets still get through")
        last = max(self._fire.arrived, default=answer.asked)
        return next(sent for sent in self._fire.sent if sent > last)

    def _wait(self, answer: Answer, problem: str) -> None:
        if time.monotonic() - answer.answered > PATIENCE:
            said = "\n".join(agent.said() for agent in self._cluster.agents.values())
            raise KernelError(f"{problem} {PATIENCE:.0f} s after the change; the agents say: {said}")
        time.sleep(_GLANCE)
