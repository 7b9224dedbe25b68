"""`vallum bench coldstart`: an agent starts on a node of a large cluster; how long until the kernel holds its rules?

On a real cluster with 10,000 pods and 1,000 policies the agent of one node is killed and started anew, in two ways: its
table is still there (a restart or an upgrade: nothing is open meanwhile), or it was deleted (a boot). The clock runs
from the start of the process, and from its first packet to the API, until it says that it has read the rules back.
What it ignores: pulling an image, and pods that start in between (`bench podstart`).
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vallum.agent.ask import ask
from vallum.dataplane.nftables.program import TABLE
from vallum.kernel import netns
from vallum.lab.bench import kubecrowd, report
from vallum.lab.bench.kubesite import in_cluster, send_all
from vallum.lab.bench.report import Goal
from vallum.lab.bench.stats import Interval, quantile
from vallum.lab.kube import agents, layout, pods
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import Component
from vallum.model.errors import KernelError

PODS, POLICIES, OWN = 10_000, 1_000, 10
TRIALS, QUICK_TRIALS = 20, 3
KEPT, GONE = "restart, table kept", "boot, no table"
SECOND, MEMORY = 1000.0, 100.0
"""Milliseconds and MiB."""
SPACE, APP = "cold", "guarded"
_PATIENCE = 60.0
_GLANCE = 0.02
"""Seconds between two questions whether it enforces: an agent that answers five hundred a second starts 0.3 s later."""
_EVERY = 3
"""ETH_P_ALL."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One start: milliseconds, those of them that a CPU worked for it, and the most memory that it held until then."""

    from_start: float
    from_list: float
    worked: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Row:
    """All starts of one way. Milliseconds and MiB."""

    start: str
    pods: int
    policies: int
    trials: int
    from_start_p50_ms: float
    from_start_max_ms: float
    from_list_p50_ms: float
    from_list_max_ms: float
    cpu_p50_ms: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement."""

    rows: list[Row]
    goals: list[Goal]


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met. Raises InputError, KernelError."""
    found = in_cluster(lambda cluster: measured(cluster, QUICK_TRIALS if quick else TRIALS), Result)
    echo(report.show("coldstart", found.rows, found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def measured(cluster: KubeCluster, trials: int, crowd: int = PODS, policies: int = POLICIES) -> Result:
    """All starts, the two ways in turn. Raises KernelError."""
    populate(cluster, crowd, policies)
    site = _Site(cluster)
    found: dict[str, list[Trial]] = {KEPT: [], GONE: []}
    for _ in range(trials):
        for way, done in found.items():
            done.append(site.trial(policies, gone=way == GONE))
    return judged(found, crowd, policies)


def populate(cluster: KubeCluster, crowd: int, policies: int) -> None:
    """The crowd elsewhere, its policies, and the pods on the first node that a tenth of these select."""
    cluster.api.apply([pods.namespace(SPACE), *kubecrowd.spaces()])
    for each in kubecrowd.spaces():
        if each["kind"] == "Namespace":
            cluster.api.await_account(each["metadata"]["name"])
    send_all(cluster.api, kubecrowd.policies(policies, SPACE, {"app": APP}))
    send_all(cluster.api, kubecrowd.pods(crowd))
    send_all(cluster.api, kubecrowd.statuses(crowd))
    node = cluster.layouts[0].name
    own = [pods.pod(f"own-{number}", space=SPACE, node=node, labels={"app": APP}) for number in range(OWN)]
    cluster.api.apply(own)
    cluster.wait_ready(own)


def judged(found: dict[str, list[Trial]], crowd: int, policies: int) -> Result:
    """Rows and goals from trials. Pure."""
    rows = [_row(way, trials, crowd, policies) for way, trials in found.items()]
    goals = [
        goal
        for way, trials in found.items()
        for goal in (
            report.goal(f"{way}: from process start, ms", _all([one.from_start for one in trials]), SECOND),
            report.goal(f"{way}: peak memory, MiB", _all([one.peak_mib for one in trials]), MEMORY),
        )
    ]
    return Result(rows, goals)


def text(found: Result) -> str:
    """Both tables, for a terminal or a file."""
    head = [
        "start",
        "pods",
        "policies",
        "trials",
        "from start p50",
        "slowest",
        "from list p50",
        "slowest",
        "CPU p50",
        "peak MiB",
    ]
    body = [
        [
            *(row.start, f"{row.pods:,}", f"{row.policies:,}", str(row.trials)),
            *(f"{row.from_start_p50_ms:.0f}", f"{row.from_start_max_ms:.0f}"),
            *(f"{row.from_list_p50_ms:.0f}", f"{row.from_list_max_ms:.0f}"),
            *(f"{row.cpu_p50_ms:.0f}", f"{row.peak_mib:.0f}"),
        ]
        for row in found.rows
    ]
    goals = report.goals_text("Goals (of the slowest)", found.goals, digits=0, between="p50 to slowest")
    return f"Milliseconds until the agent has read its rules back\n{report.lay([head, *body])}\n\n{goals}"


def _row(way: str, trials: Sequence[Trial], crowd: int, policies: int) -> Row:
    starts, lists = [one.from_start for one in trials], [one.from_list for one in trials]
    return Row(
        *(way, crowd, policies, len(trials)),
        *(quantile(starts, 0.5), max(starts), quantile(lists, 0.5), max(lists)),
        quantile([one.worked for one in trials], 0.5),
        max(one.peak_mib for one in trials),
    )


def _all(values: Sequence[float]) -> Interval:
    """So few trials bound no quantile: the slowest of them has to stay within the limit."""
    return Interval(max(values), quantile(values, 0.5), max(values))


class _Site:
    """The node that starts, and what is seen of it."""

    def __init__(self, cluster: KubeCluster) -> None:
        place = cluster.layouts[0]
        self._cluster = cluster
        self._node = place.name
        self._agent = cluster.agents[place.name]
        self._socket = agents.socket_of(place)

    def trial(self, policies: int, *, gone: bool) -> Trial:
        """Kill and start it. Raises KernelError when it does not enforce, or fewer policies than there are."""
        self._agent.kill()
        self._socket.unlink(missing_ok=True)
        if gone:
            ran = self._cluster.run_on(self._node, ("nft", "delete", "table", "inet", TABLE))
            if ran.code:
                raise KernelError(f"nft: {ran.err.strip()}")
        with netns.entered(self._node):
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY))
        with packets:
            packets.setblocking(False)
            began = time.monotonic()
            self._agent.start()
            status, listed = self._enforced(packets, began)
        ended = time.monotonic()
        if status["policies"] < policies:
            raise KernelError(f"the agent enforces {status['policies']} policies of {policies}")
        return Trial(1000 * (ended - began), 1000 * (ended - listed), _worked(self._agent), _peak(self._agent))

    def _enforced(self, packets: socket.socket, began: float) -> tuple[dict[str, Any], float]:
        """The first status that tells of a revision, and when the first connection to the API was asked for."""
        listed = None
        while time.monotonic() < began + _PATIENCE:
            time.sleep(_GLANCE)
            if listed is None and _asked(packets):
                listed = time.monotonic()
            with suppress(OSError):
                status = ask(self._socket, {"op": "status"})
                if status and status["revision"] is not None:
                    return status, listed or began
        raise KernelError(f"the agent does not enforce: {self._agent.said()}")


def _asked(packets: socket.socket) -> bool:
    """Whether somebody of the node has opened a connection to the API server since the last look.

    Kubelet and kube-proxy do not: they hold theirs.
    """
    with suppress(BlockingIOError):
        while True:
            data = packets.recv(128)
            header = (data[0] & 15) * 4
            if data[0] >> 4 == 4 and data[9] == socket.IPPROTO_TCP and len(data) >= header + 14:
                port, flags = struct.unpack_from("!H", data, header + 2)[0], data[header + 13]
                if port == layout.API_PORT and flags & 0x3F == 0x02:
                    return True
    return False


def _worked(agent: Component) -> float:
    """Milliseconds of CPU of all its threads, in user and kernel mode (proc_pid_stat(5))."""
    text = Path(f"/proc/{agent.pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _peak(agent: Component) -> float:
    for line in Path(f"/proc/{agent.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise KernelError("the kernel does not tell an agent's memory")
