"""The doctor's hands: what there is to see on this node and on its ways to all others, gathered without any change.

Blocking, a second or so where all is well; in a thread of the agent, whose namespace it looks at. What it ignores: what
is wrong (`doctor`), and the way from pods: packets are the node's own, through the very roads that pods' take.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vallum.agent.doctor import diagnose
from vallum.agent.reconcile import Report
from vallum.agent.settings import Settings
from vallum.agent.symptoms import Arrival, Foreign, OnLink, Stated, Symptoms, Trial, Tunnel
from vallum.ipam.choose import spare
from vallum.kernel import echo, ground, ipip
from vallum.kernel.gate import Gate
from vallum.kernel.survey import Survey, survey, ways_back
from vallum.model.address import Address, Network
from vallum.model.errors import KernelError
from vallum.model.ground import Hop
from vallum.model.objects import Node
from vallum.model.wiring import ROUTE_PROTOCOL, Device, Vxlan, Wiring
from vallum.network.ends import ends, reached

_NOTHING_YET = {"error": "nothing is enforced yet; ask again when status has a revision"}


def examination(report: Report | None, settings: Settings) -> Iterator[dict[str, Any]]:
    """One line: what is wrong as seen from this node, and what could not be tried; or an error."""
    if report is None:
        yield _NOTHING_YET
        return
    try:
        seen = examine(report, settings)
    except KernelError as error:
        yield {"error": str(error)}
        return
    yield {
        "node": seen.node,
        "findings": [finding.facts() for finding in diagnose(seen)],
        "tried": [
            f"{trial.peer} {trial.to} {trial.tunnel.device if trial.tunnel else ''}".strip() for trial in seen.trials
        ],
        "untried": list(seen.untried),
    }


def examine(report: Report, settings: Settings) -> Symptoms:
    """Everything that `doctor` wants to know. Raises KernelError where the kernel does not tell."""
    nodes = report.snapshot.nodes
    me = nodes.get(settings.node, Node(settings.node))
    peers = tuple(nodes[name] for name in sorted(nodes.keys() - {me.name}))
    hops = ground.look([each for peer in peers for each in reached(peer).addresses]).hops
    here = _Here(settings, report, me, peers, hops, survey())
    trials, untried = _tried(here)
    routed = settings.backend != "none"
    return Symptoms(
        me.name,
        trials,
        tuple(_arrivals(here)),
        here.kernel.strict,
        _closed(here),
        tuple(_stated(here)),
        tuple(_foreign(here)) if routed else (),
        tuple(_on_link(here)),
        here.kernel.tracked,
        _dropped(report.plan),
        (*report.problems, *report.wiring.problems),
        untried,
    )


@dataclass(frozen=True, slots=True)
class _Here:
    """What is known of this node before anything is tried."""

    settings: Settings
    report: Report
    me: Node
    peers: tuple[Node, ...]
    hops: Mapping[Address, Hop]
    kernel: Survey

    @property
    def plan(self) -> Wiring:
        return self.report.plan

    def tunnels(self) -> dict[str, Tunnel]:
        """By the name of the device."""
        return {device.name: _tunnel(device, self.plan.mtu) for device in self.plan.devices}


def _tunnel(device: Device, mtu: int | None) -> Tunnel:
    kind, needs = ("vxlan", f"UDP port {device.port}") if isinstance(device, Vxlan) else ("ipip", "IP protocol 4")
    return Tunnel(device.name, kind, needs, min(device.mtu, mtu or device.mtu))


# What is tried


def _tried(here: _Here) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    planned, untried = [], []
    through = {route.destination: route.device for route in here.plan.routes}
    tunnels = here.tunnels()
    for peer in here.peers:
        direct = [each for each in ends(reached(peer)).values() if each in here.hops]
        planned += [Trial(peer.name, each, None, here.hops[each].mtu, None) for each in direct]
        for device, inner in _tunnelled(peer, through, tunnels):
            to = _inside(peer, inner, here.settings)
            if to is None:
                untried.append(f"node {peer.name} through {device.device}: no address of its own in {inner} is known")
            else:
                planned.append(Trial(peer.name, to, device, device.mtu, None))
    try:
        most = echo.largest([echo.Target(each.to, each.asked) for each in planned])
    except echo.NoEchoError as error:
        return (), (*untried, f"the ways to other nodes: {error}")
    trials = [
        Trial(each.peer, each.to, each.tunnel, each.asked, size) for each, size in zip(planned, most, strict=True)
    ]
    return tuple(_with_refusals(here, trials)), tuple(untried)


def _tunnelled(
    peer: Node, through: Mapping[Network, str | None], tunnels: Mapping[str, Tunnel]
) -> Iterator[tuple[Tunnel, Network]]:
    """The first range of each family that goes to this peer by a tunnel, and which."""
    families = set()
    for network in peer.pod_ranges:
        device = through.get(network) or ""
        if device in tunnels and network.version not in families:
            families.add(network.version)
            yield tunnels[device], network


def _inside(peer: Node, network: Network, settings: Settings) -> Address | None:
    """The address that the peer itself has among those of its pods: published, or the one that its range spares."""
    published = next((each for each in peer.addresses if each in network), None)
    if published is not None:
        return published
    return spare(network) if settings.cni is None or settings.cni.ipam == "ranges" else None


def _with_refusals(here: _Here, trials: list[Trial]) -> Iterator[Trial]:
    """Where nothing comes back through vxlan, whether anybody listens at the other end."""
    outer = {device.name: device for device in here.plan.devices if isinstance(device, Vxlan)}
    names = {peer.name: peer for peer in here.peers}
    for trial in trials:
        device = outer.get(trial.tunnel.device) if trial.tunnel and trial.most is None else None
        to = ends(reached(names[trial.peer])).get(device.local.version) if device else None
        refused = device is not None and to is not None and echo.is_refused(to, device.port)
        yield Trial(trial.peer, trial.to, trial.tunnel, trial.asked, trial.most, refused)


# What is read


def _arrivals(here: _Here) -> Iterator[Arrival]:
    """What must come in by a tunnel, and what by the link where routes are plain. IPv6 has no such filter."""
    holders = {address: peer.name for peer in here.peers for address in reached(peer).addresses}
    expected = [
        (holders.get(origin.outer, str(origin.outer)), origin.inner, origin.device)
        for origin in here.plan.origins
        if origin.inner.version == 4
    ]
    tunnels = {device.name for device in here.plan.devices}
    plain = {route.destination for route in here.plan.routes if route.device not in tunnels}
    for peer in here.peers:
        hop = here.hops.get(address) if (address := ends(reached(peer)).get(4)) else None
        if hop is not None:
            expected += [
                (peer.name, each, hop.device) for each in peer.pod_ranges if each in plain and each.version == 4
            ]
    back = ways_back(source.network_address for _, source, _ in expected)
    for name, source, device in expected:
        yield Arrival(name, source, device, back.get(source.network_address, "no interface"))


def _closed(here: _Here) -> dict[int, frozenset[str]]:
    needed = {hop.device for hop in here.hops.values()} | {device.name for device in here.plan.devices}
    needed |= {each.interface for each in here.report.local.attachments} | {"all"}
    families = {network.version for network in here.me.pod_ranges}
    return {version: names & needed for version, names in here.kernel.closed.items() if version in families}


def _stated(here: _Here) -> Iterator[Stated]:
    holders = {own.ip: device for device, own in here.kernel.addresses}
    for address in ends(reached(here.me)).values():
        holder = holders.get(address)
        ways = [(peer.name, hop) for peer in here.peers for hop in _hops_to(here, peer, address.version)]
        astray = [(name, hop) for name, hop in ways if holder not in {hop.device, "lo"}]
        name, hop = next(iter(astray or ways), ("", None))
        if hop is not None and (astray or holder is None):
            yield Stated(address, holder, name, hop.device, hop.source)
        elif holder is None:
            yield Stated(address, None, "", "", address)


def _hops_to(here: _Here, peer: Node, version: int) -> Iterator[Hop]:
    hop = here.hops.get(address) if (address := ends(reached(peer)).get(version)) else None
    if hop is not None:
        yield hop


def _foreign(here: _Here) -> Iterator[Foreign]:
    """Routes of others to what is, or lies within, a pod range: the longest one decides where a packet goes."""
    ranges = {network: node.name for node in (here.me, *here.peers) for network in node.pod_ranges}
    lengths = sorted({(network.version, network.prefixlen) for network in ranges})
    in_use = {each.interface for each in here.report.local.attachments}
    for route in here.kernel.routes:
        to = route.destination
        if route.protocol == ROUTE_PROTOCOL or route.device in in_use:
            continue
        for version, length in lengths:
            held = to.supernet(new_prefix=length) if version == to.version and length <= to.prefixlen else None
            if held not in ranges:
                continue
            is_own_pod = ranges[held] == here.me.name and to.prefixlen == to.max_prefixlen and route.device
            if not is_own_pod:
                yield Foreign(to, route.device, route.protocol, ranges[held], held)


def _on_link(here: _Here) -> Iterator[OnLink]:
    uplinks = {hop.device for hop in here.hops.values()}
    links = [
        (device, own.network) for device, own in here.kernel.addresses if device in uplinks and not own.ip.is_link_local
    ]
    for node in (here.me, *here.peers):
        for network in node.pod_ranges:
            for device, link in links:
                if link.overlaps(network) and link.prefixlen < link.max_prefixlen:
                    yield OnLink(device, link, node.name, network)


def _dropped(plan: Wiring) -> tuple[tuple[str, int], ...]:
    if not plan.devices:
        return ()
    gate = Gate()
    counts = Counter(gate.counts()) + Counter(ipip.counts())
    gate.close()
    return tuple(sorted(counts.items()))
