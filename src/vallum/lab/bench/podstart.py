"""`vallum bench podstart`: is a pod protected from its first packet, and how long does that make it wait?

On the real cluster of lab.kube pods start under fire from pods that they admit and pods that they do not, on the same
node and on the other: some by a kubelet, most by calling our plugin as a runtime does. What a pod hears of those that
it denies is leaked. Then ADD is timed with nobody shooting, beside the reference plugins, without and with thousands
of policies. What it ignores: image pulls and containers, which are none of ours.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from vallum.agent.ask import ask
from vallum.lab.bench import adds, arms, attach, kubecrowd, kubelet_starts, report
from vallum.lab.bench.adds import Adds
from vallum.lab.bench.attach import Ear
from vallum.lab.bench.kubesite import MERGE, file_of, in_cluster, inside_of, send_all
from vallum.lab.bench.report import Goal
from vallum.lab.bench.starts import Ground, Start, starting
from vallum.lab.bench.stats import Interval, quantile, quantile_interval
from vallum.lab.bench.volley import Shooter, burning
from vallum.lab.kube import agents
from vallum.lab.kube import node as nodes
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import until
from vallum.lab.kube.layout import NodeLayout
from vallum.model.address import Address, Network

ADD_LIMIT, LONGER_LIMIT = 20.0, 5.0
"""Milliseconds: the median of ADD, and how much longer it may be with all policies."""
_PATIENCE = 20.0
_SELDOM, _OFTEN = 1000, 10
"""One policy of so many selects the pod whose ADD is timed: as in a large cluster, and as in no cluster."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many starts by a kubelet, in a roomy range and in a crowded one; rounds of ADD; policies of the second."""

    kubelet: int
    roomy: int
    crowded: int
    rounds: int
    policies: int


FULL = Size(kubelet=50, roomy=550, crowded=400, rounds=200, policies=10_000)
QUICK = Size(kubelet=10, roomy=25, crowded=25, rounds=30, policies=1_000)


@dataclass(frozen=True, slots=True)
class StartRow:
    """All starts by one road and in one order. Milliseconds from ADD, or from the object where that was later."""

    range: str
    order: str
    starts: int
    leaked: int
    allowed: int
    unheard: int
    unaimed: int
    add_p50_ms: float | None
    add_p99_ms: float | None
    first_p50_ms: float | None
    first_p99_ms: float | None
    reused_rested: int
    reused_at_once: int
    inherited: int
    witnessed_rested: int
    witnessed_at_once: int


@dataclass(frozen=True, slots=True)
class AddRow:
    """ADD of one plugin, nobody shooting. Milliseconds."""

    plugin: str
    policies: int
    selecting: int
    rounds: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows and goals of a measurement, and how many packets were fired."""

    starts: list[StartRow]
    adds: list[AddRow]
    goals: list[Goal]


def run(quick: bool, output: str, echo: Callable[[str], None]) -> int:
    """Measure and print. Returns 0, or 1 where a goal is not met. Raises InputError, KernelError."""
    size = QUICK if quick else FULL
    found = in_cluster(lambda cluster: measured(cluster, size), Result)
    echo(report.show("podstart", [*found.starts, *found.adds], found.goals, lambda: text(found), output))
    return 0 if all(goal.met for goal in found.goals) else 1


def measured(cluster: KubeCluster, size: Size) -> Result:
    """Everything, on a cluster with our agents that is up. Raises KernelError."""
    here, there = cluster.layouts[:2]
    world = arms.world([here.name, there.name])
    cluster.api.apply(world)
    running = cluster.wait_ready([each for each in world if each["kind"] == "Pod"])
    plugin = attach.first_of(here.cni_config / "10-vallum.conflist", here.cni_plugins, here.name)
    found = _under_fire(cluster, plugin, running, size)
    plugins = plugin, adds.reference()
    timed = [adds.rounds(cluster.api, here.name, plugins, (0, 0), size.rounds)]
    cluster.api.apply(kubecrowd.spaces())
    for every, start in ((_SELDOM, 0), (_OFTEN, size.policies)):  # the second time it is the crowd of the first, too
        policies = kubecrowd.policies(size.policies, arms.SPACE, {"kind": "guarded"}, every, start)
        send_all(cluster.api, policies)
        total, own = start + size.policies, size.policies // every + start // _SELDOM
        timed.append(adds.rounds(cluster.api, here.name, plugins, (total, own), size.rounds))
    return judged(found, timed)


def judged(starts: Sequence[Start], timed: Sequence[Adds]) -> Result:
    """Rows and goals. Pure."""
    groups = sorted({(each.range, each.order) for each in starts})
    rows = [_row([each for each in starts if (each.range, each.order) == group]) for group in groups]
    plugins = [_add_row(name, each) for each in timed for name in ("vallum", "reference")]
    none, many = timed[:2]
    longer = _difference(quantile_interval(many.ours, 0.5), quantile_interval(none.ours, 0.5))
    goals = [
        report.none_of(f"packets that leaked into {len(starts):,} starting pods", sum(row.leaked for row in rows)),
        report.none_of("packets by permissions of an address's owner before", sum(row.inherited for row in rows)),
        report.none_of(
            "packets that others let through for an owner before", sum(row.witnessed_rested for row in rows)
        ),
        report.none_of("pods not heard from their first moment, and packets", sum(row.unheard for row in rows)),
        report.goal("ADD without policies, p50 in ms", quantile_interval(none.ours, 0.5), ADD_LIMIT),
        report.goal(f"ADD with {many.policies:,} policies longer by, p50 in ms", longer, LONGER_LIMIT),
    ]
    return Result(rows, plugins, goals)


def text(found: Result) -> str:
    """All tables, for a terminal or a file."""
    head = ["road", "order", "starts", "unaimed", "leaked", "allowed", "ADD p50", "p99", "first packet p50", "p99"]
    head += ["reused rested", "at once", "inherited", "elsewhere rested", "at once"]
    body = [
        [
            *(row.range, row.order, str(row.starts), str(row.unaimed), str(row.leaked), f"{row.allowed:,}"),
            *(_ms(value) for value in (row.add_p50_ms, row.add_p99_ms, row.first_p50_ms, row.first_p99_ms)),
            *(str(row.reused_rested), str(row.reused_at_once), str(row.inherited)),
            *(str(row.witnessed_rested), str(row.witnessed_at_once)),
        ]
        for row in found.starts
    ]
    lines = [
        [row.plugin, f"{row.policies:,}", f"{row.selecting:,}", str(row.rounds), _ms(row.p50_ms), _ms(row.p99_ms)]
        for row in found.adds
    ]
    return "\n\n".join(
        [
            f"Starts under fire, milliseconds\n{report.lay([head, *body], text=2)}",
            "ADD with nobody shooting, milliseconds; reference: bridge and host-local\n"
            + report.lay([["plugin", "policies", "for the pod", "rounds", "p50", "p99"], *lines]),
            report.goals_text("Goals", found.goals, digits=1),
        ]
    )


def _under_fire(cluster: KubeCluster, plugin: attach.Plugin, running: Sequence[Manifest], size: Size) -> list[Start]:
    here, there = cluster.layouts[:2]
    by_name = {each["metadata"]["name"]: each for each in running}
    witness = by_name.pop(arms.WITNESS)
    own = _addresses(witness)[0]
    shooters = [_shooter(cluster, each) for each in by_name.values()]
    roles = {address: each["metadata"]["labels"]["role"] for each in by_name.values() for address in _addresses(each)}
    with burning(shooters) as volley, inside_of(there, own) as inside:
        ear = Ear(inside)
        ground = Ground(here.name, plugin, volley, roles, ear, own)
        found = kubelet_starts.series(cluster, here, ground, _last(running, here), size.kubelet)
        cluster.nodes[here.name].kubelet.stop()
        with starting(cluster.api, ground) as starts:
            found += starts.series("roomy", here.pod_ranges, size.roomy)
            small = [arms.smaller(each) for each in here.pod_ranges]
            _give(cluster, here, small)
            found += starts.series("crowded", small, size.crowded)
            starts.prove(small)
        _give(cluster, here, here.pod_ranges)
        ear.close()
    return found


def _shooter(cluster: KubeCluster, pod: Manifest) -> Shooter:
    place = next(each for each in cluster.layouts if each.name == pod["spec"]["nodeName"])
    addresses = _addresses(pod)
    return Shooter(str(file_of(place, addresses[0])), tuple(map(str, addresses)))


def _addresses(pod: Manifest) -> tuple[Address, ...]:
    return tuple(ip_address(each["ip"]) for each in pod["status"]["podIPs"])


def _last(running: Iterable[Manifest], node: NodeLayout) -> Address:
    """The IPv4 address that the node gave last: so far they only went up."""
    return max(_addresses(each)[0] for each in running if each["spec"]["nodeName"] == node.name)


def _give(cluster: KubeCluster, place: NodeLayout, ranges: Sequence[Network]) -> None:
    """Other pod ranges for a node. They cannot be changed, so it is made anew with the status that it had."""
    old = cluster.api.get("v1", "Node", place.name)
    cluster.api.delete("v1", "Node", place.name)
    made = nodes.manifest(place)
    made["spec"] = {"podCIDR": str(ranges[0]), "podCIDRs": [str(each) for each in ranges]}
    cluster.api.apply([made])
    path = f"/api/v1/nodes/{place.name}/status"
    cluster.api.request("PATCH", path, {"status": {"addresses": old["status"]["addresses"]}}, MERGE)
    wanted = {str(each) for each in ranges}
    until(lambda: wanted <= set(_closed(place)), _PATIENCE, lambda: f"the agent still gives from {_closed(place)}")


def _closed(place: NodeLayout) -> list[str]:
    status: dict[str, list[str]] = ask(agents.socket_of(place), {"op": "status"})
    return status["closed"]


def _row(starts: Sequence[Start]) -> StartRow:
    timed = [each for each in starts if each.first is not None]
    ours = [each.add for each in timed]
    first = [each.first for each in timed if each.first is not None]
    again = {how: [each for each in starts if each.reuse == how] for how in ("rested", "at once")}
    return StartRow(
        range=starts[0].range,
        order=starts[0].order,
        starts=len(starts),
        leaked=sum(each.hit.leaked for each in starts),
        allowed=sum(each.hit.allowed for each in starts),
        unheard=sum(each.unheard for each in starts),
        unaimed=sum(not each.aimed for each in starts),
        add_p50_ms=_quantile(ours, 0.5),
        add_p99_ms=_quantile(ours, 0.99),
        first_p50_ms=_quantile(first, 0.5),
        first_p99_ms=_quantile(first, 0.99),
        reused_rested=len(again["rested"]),
        reused_at_once=len(again["at once"]),
        inherited=sum(each.hit.leaked for many in again.values() for each in many),
        witnessed_rested=sum(each.witnessed for each in starts if each.reuse != "at once"),
        witnessed_at_once=sum(each.witnessed for each in again["at once"]),
    )


def _quantile(values: Sequence[float], part: float) -> float | None:
    return quantile(values, part) if values else None


def _add_row(plugin: str, found: Adds) -> AddRow:
    times = found.ours if plugin == "vallum" else found.reference
    return AddRow(plugin, found.policies, found.selecting, len(times), quantile(times, 0.5), quantile(times, 0.99))


def _difference(one: Interval, other: Interval) -> Interval:
    """How much greater the one is, at least and at most."""
    return Interval(one.value - other.value, one.low - other.high, one.high - other.low)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
