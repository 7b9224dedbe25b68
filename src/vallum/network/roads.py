"""Which back end carries which range of which node, so that every destination has exactly one writer.

Pure. Encapsulation belongs to the pool and the pair of nodes: `never` leads by plain routes, `always` by the pool's
back end, `cross-subnet` by plain routes where the kernel finds the peer on a link of its own. What nobody may carry is
a Problem that names the cure. What it ignores: how a back end does it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network
from itertools import pairwise

from vallum.model.address import Address, Network, Packed, span
from vallum.model.ground import Hop
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Device, Origin, Problem, Route, Vxlan, Wiring
from vallum.network import BACKENDS, load
from vallum.network.claims import Claims
from vallum.network.ends import ends, outer_family, reached
from vallum.network.memo import Memo
from vallum.network.options import Defaults, Options
from vallum.network.pools import PLAIN, Pools, Travel

_Refused = Mapping[str, Mapping[Network, Problem]]
"""By node the ranges that overlap another's, and what is told of them."""


def plan(snapshot: Snapshot, node: str, defaults: Defaults, options: Options) -> Wiring:
    """What must exist on this node so that its pods and those of all others reach each other, and the world."""
    pools = _POOLS.get(node, (snapshot.pools, defaults, options.mtu), lambda: Pools(snapshot.pools, defaults, options))
    met = _meet(snapshot.nodes.get(node) or Node(node))
    own, others = met.node, [_meet(snapshot.nodes[name]) for name in sorted(snapshot.nodes.keys() - {node})]
    refused = _refused([met, *others], defaults)
    back = tuple(dict.fromkeys((network.version, pools.of(network)) for network in own.pod_ranges))
    shares = _shares(own, others, refused, _Judgement(own.routers, met.ends, back, pools, options.outer), options)
    told = {name: Snapshot(nodes=nodes | {node: own}) for name, nodes in sorted(shares.carried.items())}
    wirings = {name: load(name)(share, node, options) for name, share in told.items()}
    parts = [*wirings.values()]
    mtu, bounds = _measured(parts, pools, options)
    return Wiring(
        _routes(parts, pools, options),
        (*pools.problems, *shares.problems, *(each for part in parts for each in part.problems), *bounds),
        frozenset().union(*(part.devices for part in parts)),
        frozenset().union(*(part.neighbours for part in parts)),
        frozenset().union(*(part.forwards for part in parts)),
        frozenset().union(*(part.carried for part in parts)),
        frozenset().union(*(part.origins for part in parts), _others_origins(shares, wirings)),
        pools.masquerade(own, _inside(met, others, shares)),
        mtu,
    )


@dataclass(frozen=True, slots=True)
class _Met:
    """A node as others reach it, its ends by family, the first and last address of each of its ranges, and each of its
    addresses as a network.
    """

    node: Node
    ends: Mapping[int, Address]
    spans: tuple[tuple[Packed, Packed], ...]
    hosts: tuple[Network, ...]


@dataclass(slots=True)
class _Shares:
    """By back end and name the nodes with what it carries of each, and what nobody carries.

    `sends`: back end, node, and ranges of it that this back end does not lead to, though packets come from there by it.
    """

    carried: dict[str, dict[str, Node]] = field(default_factory=dict)
    sends: list[tuple[str, Node, tuple[Network, ...]]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Decision:
    """About one peer: by back end what it carries, what is told, and which back ends its pools may need."""

    parts: Mapping[str, Node]
    problems: tuple[Problem, ...]
    tunnels: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What it takes to decide about a peer, beside the ways to it: of this node its routers, its ends, and how packets
    travel to its own ranges, by family.
    """

    routers: tuple[object, ...]
    ends: Mapping[int, object]
    back: tuple[tuple[int, Travel], ...]
    pools: Pools
    outer: int

    def decide(self, peer: Node, hops: Mapping[int, Hop], refused: Mapping[Network, Problem]) -> _Decision:
        """Divide what a peer has among the back ends. `hops`: the way to it, by family."""
        parts: dict[str, list[Network]] = {}
        problems: list[Problem] = []
        for network in peer.pod_ranges:
            road = refused.get(network) or self.road(peer, network, hops)
            if isinstance(road, Problem):
                problems.append(road)
            else:
                parts.setdefault(road, []).append(network)
        if not peer.pod_ranges and not peer.groups:
            problems.append(Problem(f"node {peer.name}", "it has no pod range, so nothing is routed to it"))
        for family, travel in self.back:
            if self._in_tunnel(travel, family, hops):
                parts.setdefault(travel.backend, [])  # by which the peer sends, whatever leads to it
        groups = tuple(each for each in peer.groups if self.road(peer, each, hops) == PLAIN)
        if groups:
            parts.setdefault(PLAIN, [])
        if parts.keys() - {PLAIN}:
            problems += self.lost(peer, hops)
        # of a back end that is not there it is told once, with its pool
        found = {
            name: replace(peer, pod_ranges=tuple(ranges), groups=groups if name == PLAIN else ())
            for name, ranges in parts.items()
            if name in BACKENDS
        }
        return _Decision(found, tuple(problems), tunnels(peer, self.pools))

    def road(self, peer: Node, network: Network, hops: Mapping[int, Hop]) -> str | Problem:
        """The back end that carries a range of a peer."""
        travel, hop = self.pools.of(network), hops.get(network.version)
        if self._in_tunnel(travel, network.version, hops):
            return travel.backend
        address = ends(peer).get(network.version)
        if address is None or (self.routers and peer.routers):  # the back end knows what is missing, or the router
            return PLAIN
        what = f"so its pod range {network} is not routed"
        if hop is None:
            return Problem(f"node {peer.name}", f"no route leads to its address {address}, {what}")
        if hop.gateway is not None:
            text = f"it is not on this link (the way is via {hop.gateway}), {what}; {_cure(travel)}"
            return Problem(f"node {peer.name}", text)
        return PLAIN

    def _in_tunnel(self, travel: Travel, family: int, hops: Mapping[int, Hop]) -> bool:
        """Both ends must come to the same answer, so each asks whether both have an address of the family."""
        return _in_tunnel(travel, hops.get(family) if family in self.ends else None)

    def lost(self, peer: Node, hops: Mapping[int, Hop]) -> Iterator[Problem]:
        """That packets for a peer, encapsulated, have no way. What is planned stays: a way may come back."""
        theirs = ends(peer)
        family = outer_family(self.ends, theirs, self.outer)
        if family is not None and family not in hops:
            text = f"no route leads to its address {theirs[family]}, its pods are out of reach"
            yield Problem(f"node {peer.name}", text)


_MET: Memo[_Met] = Memo()
_POOLS: Memo[Pools] = Memo()
_DECISIONS: Memo[_Decision] = Memo()
_NONE: Mapping[Network, Problem] = {}


def _meet(node: Node) -> _Met:
    def make() -> _Met:
        there = reached(node)
        return _Met(there, ends(there), tuple(map(span, node.pod_ranges)), tuple(map(ip_network, there.addresses)))

    return _MET.get(node.name, (node,), make)


def _inside(own: _Met, others: list[_Met], shares: _Shares) -> list[Network]:
    """Where pods are known by their own addresses: at pods, and at nodes that answer them by plain routes.

    A node behind a tunnel answers a pod through it, to an address that the fabric between them may not know.
    """
    tunnelled = {name for road, nodes in shares.carried.items() if road != PLAIN for name in nodes}
    plain = shares.carried.get(PLAIN, {}).keys() - tunnelled
    found = [network for each in (own, *others) for network in each.node.pod_ranges]
    return [*found, *(host for each in others if each.node.name in plain for host in each.hosts)]


def encapsulates(travel: Travel) -> bool:
    """Reports whether packets to a pool may travel inside others."""
    return travel.backend != PLAIN and travel.encapsulation != "never"


def _in_tunnel(travel: Travel, hop: Hop | None) -> bool:
    return encapsulates(travel) and (travel.encapsulation == "always" or hop is None or hop.gateway is not None)


def tunnels(node: Node, pools: Pools) -> frozenset[str]:
    """The back ends that may encapsulate packets to a node's pods."""
    travels = (pools.of(network) for network in node.pod_ranges)
    return frozenset(each.backend for each in travels if encapsulates(each) and each.backend in BACKENDS)


def _cure(travel: Travel) -> str:
    where = f"in pool {travel.pool}" if travel.pool else "with --encapsulation"
    if travel.backend != PLAIN:
        return f"write encapsulation cross-subnet {where}"
    whose = f"give pool {travel.pool}" if travel.pool else "choose with --backend"
    names = " or ".join(name for name in BACKENDS if name != PLAIN)
    return f"{whose} a back end that encapsulates ({names}), and write encapsulation cross-subnet {where}"


def _shares(own: Node, others: list[_Met], refused: _Refused, judgement: _Judgement, options: Options) -> _Shares:
    ground = options.ground.hops
    # also without a peer: pods get the MTU that the tunnel leaves
    found = _Shares(
        {name: {} for name in tunnels(own, judgement.pools)}, problems=[*refused.get(own.name, _NONE).values()]
    )
    for met in others:
        peer = met.node
        hops = {family: hop for family, each in met.ends.items() if (hop := ground.get(each)) is not None}
        mine = refused.get(peer.name, _NONE)
        given = (peer, hops, mine, judgement)
        decision = _DECISIONS.get((own.name, peer.name), given, partial(judgement.decide, peer, hops, mine))
        found.problems += decision.problems
        for name in decision.tunnels:
            found.carried.setdefault(name, {})
        for name, part in decision.parts.items():
            found.carried.setdefault(name, {})[peer.name] = part
            if name != PLAIN and len(part.pod_ranges) < len(peer.pod_ranges):
                rest = tuple(each for each in peer.pod_ranges if each not in part.pod_ranges and each not in mine)
                found.sends.append((name, peer, rest))
    return found


def _others_origins(shares: _Shares, wirings: Mapping[str, Wiring]) -> Iterator[Origin]:
    """A node sends by the road that leads to the receiver, so its other ranges are sources there as well."""
    entrances: dict[str, dict[Address, Device]] = {}
    for name, peer, ranges in shares.sends:
        if name not in entrances:
            devices = {each.name: each for each in wirings[name].devices}
            entrances[name] = {each.outer: devices[each.device] for each in wirings[name].origins}
        for outer in peer.addresses:
            device = entrances[name].get(outer)
            if device is not None:
                fitting = (each for each in ranges if isinstance(device, Vxlan) or each.version == 4)
                yield from (Origin(device.name, outer, each) for each in fitting)


def _refused(nodes: list[_Met], defaults: Defaults) -> _Refused:
    """Of ranges that overlap the first counts: services, those of the first node, then by name."""
    spans = sorted((*map(span, defaults.services), *(each for met in nodes for each in met.spans)))
    if all(before[1] < after[0] for before, after in pairwise(spans)):
        return {}
    claims, found = Claims(), dict[str, dict[Network, Problem]]()
    for service in defaults.services:
        claims.taken(service, "")
    for node in (met.node for met in nodes):
        for network in node.pod_ranges:
            taken = claims.taken(network, node.name)
            if taken is not None:
                other = (
                    f"{taken[0]} of node {taken[1]}" if taken[1] else f"the service network {taken[0]} (--service-cidr)"
                )
                text = f"its pod range {network} overlaps {other}"
                found.setdefault(node.name, {})[network] = Problem(f"node {node.name}", text)
    return found


def _routes(parts: list[Wiring], pools: Pools, options: Options) -> frozenset[Route]:
    """With the MTU that was asked for: pods that were wired before it was have a larger one on their links."""
    if not pools.mtus():
        return frozenset().union(*(part.routes for part in parts))
    return frozenset(
        _bounded(route, pools.of(route.destination).mtu, part.mtu or options.ground.mtu)
        for part in parts
        for route in part.routes
    )


def _bounded(route: Route, mtu: int | None, most: int) -> Route:
    return route if mtu is None or mtu >= most else replace(route, mtu=mtu)


def _measured(parts: list[Wiring], pools: Pools, options: Options) -> tuple[int | None, list[Problem]]:
    """The MTU of pods' links, None for that of the node's link; and what was asked for and is too much."""
    carried = [part.mtu for part in parts if part.mtu is not None]
    most = min([*carried, options.ground.mtu])
    asked = pools.mtus()
    text = f"is more than the {most} bytes that packets between nodes can have here, which pods get"
    problems = [Problem(f"MTU {mtu} {where}", text) for where, mtu in asked if mtu > most]
    least = min([*carried, *(mtu for _, mtu in asked)], default=None)
    return least, problems
