"""Read this first: take the snapshot, compile, render, apply what changed, plan, sync what changed, report.

Everything before `apply` is pure; everything after talks to the kernel. Runs in the worker thread. Nothing else in the
project decides what the kernel gets, and `run` alone decides when.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from vallum.agent.hands import Hands
from vallum.agent.settings import Settings
from vallum.kernel.sync import SyncReport
from vallum.model.address import Network
from vallum.model.attachment import LocalNode
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Problem, Wiring
from vallum.network.options import Options
from vallum.network.pools import Pools
from vallum.policy.compile import Engine
from vallum.policy.ruleset import Ruleset

Held = Callable[[LocalNode], None]


@dataclass(frozen=True, slots=True)
class Moments:
    """When (time.monotonic) the first event that this answers was heard, work began, and what had been done."""

    heard: float
    begun: float
    compiled: float
    applied: float


@dataclass(frozen=True, slots=True)
class Report:
    """What one reconcile did. `repaired`: planes found different from what they were last given; `problems`: what keeps
    packets of local pods from being judged; `plan`: what the back ends wished for; `gate`: what
    others had made of the gate of tunnels.
    """

    snapshot: Snapshot
    ruleset: Ruleset
    local: LocalNode
    repaired: tuple[str, ...]
    wiring: SyncReport
    problems: tuple[Problem, ...]
    seconds: float
    moments: Moments
    plan: Wiring = field(default_factory=Wiring)
    gate: tuple[str, ...] = ()


def reconcile(
    snapshot: Snapshot, settings: Settings, engine: Engine, hands: Hands, held: Held, *, doubt: bool
) -> Report:
    """Make the kernel hold what the snapshot asks for. With `doubt` the kernel is read before and compared after.

    `held` is called as soon as the rules of these pods are in force: whoever starts one of them need not wait for the
    routes of others. Raises KernelError; the last good state then stands and the next call starts by reading.
    """
    start = time.monotonic()
    ruleset, tables = engine.compile(snapshot)
    compiled = time.monotonic()
    local = hands.local_node(ruleset, _closed(snapshot, settings))
    repaired = []
    for plane in hands.planes:
        hands.accept(plane, ruleset)
        found = hands.differs(plane, doubt=doubt)
        program = plane.render(ruleset, tables, local)
        new = hands.is_unproven(plane, program, local)
        changed = hands.put(plane, program, verify=doubt, confirm=new, again=found)
        repaired += [plane.name] * (found or changed)
    problems = hands.shortcomings(local)
    hands.settled(local)
    held(local)
    applied = time.monotonic()
    plan = hands.plan(snapshot, settings.node)
    wiring = hands.sync(plan, doubt=doubt)
    moments = Moments(start, start, compiled, applied)
    spent = time.monotonic() - start
    gate = hands.roads.mended
    return Report(snapshot, ruleset, local, tuple(repaired), wiring, problems, spent, moments, plan, gate)


def _closed(snapshot: Snapshot, settings: Settings) -> tuple[Network, ...]:
    """The node's own pod ranges, where pods that nobody told of are to stay closed (stance 17)."""
    own = snapshot.nodes.get(settings.node)
    return own.pod_ranges if own and settings.close_unknown else ()


def network_facts(report: Report, settings: Settings) -> dict[str, Any]:
    """How packets travel: by pool, the last without a name being what holds outside of all pools."""
    travel = settings.travel
    found = Pools(report.snapshot.pools, travel.defaults(settings.backend), Options(mtu=travel.mtu))
    return {
        "pools": [asdict(each) for each in found.travels] if settings.backend != "none" else [],
        "mtu": report.plan.mtu,
        "devices": sorted(each.name for each in report.plan.devices),
        "routes": len(report.plan.routes),
        "masqueraded": list(map(str, report.plan.masquerade.sources)) if report.plan.masquerade else [],
    }


def facts(report: Report) -> dict[str, Any]:
    """The part of `status` that a reconcile answers for."""
    attached = {str(attachment.pod): attachment.interface for attachment in report.local.attachments}
    return {
        "revision": report.snapshot.revision,
        "pods": {str(local.pod): attached.get(str(local.pod)) for local in report.ruleset.locals},
        "closed": list(map(str, report.local.closed)),
        "policies": len(report.snapshot.policies),
        "problems": [f"{problem.subject}: {problem.text}" for problem in (*report.problems, *report.wiring.problems)],
        "milliseconds": round(report.seconds * 1000, 2),
        "moments": asdict(report.moments),
    }
