"""host-gw: one route for each pod range of a node on this link, with that node's own address as the gateway; one for
each group of addresses behind the link's router, with that router as the gateway.

Nothing is encapsulated. Nodes that name a router (`Node.routers`) share a link when they name the same one. Of others
nothing tells who is on this link; the kernel does, when it refuses a gateway that no link reaches, and `kernel.sync`
reports that.
"""

from bisect import bisect_right

from vallum.model.address import Address, Network, Packed, span
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Problem, Route, Wiring
from vallum.network.aggregate import Member, Way, ways

_ROUTER = ""
"""The direction of whatever lies behind the router: no node has this name."""


def plan(snapshot: Snapshot, node: str) -> Wiring:
    """The routes of this node, and which other nodes cannot be reached. A node of no name known has none."""
    own = snapshot.nodes.get(node) or Node(node)
    others = sorted((each for each in snapshot.nodes.values() if each.name != node), key=lambda each: each.name)
    gateways = {each.name: each.addresses for each in others} | {_ROUTER: own.routers}
    hops: dict[str, str | None] = {each.name: each.name if _on_link(own, each) else _ROUTER for each in others}
    hops[node] = None
    claims = _Claims()
    for network in own.pod_ranges:
        claims.taken(network, node)
    routes: set[Route] = set()
    problems = [
        Problem(f"node {each.name}", "it has no pod range, so nothing is routed to it")
        for each in others
        if not each.pod_ranges and not each.groups
    ]
    for way in ways([Member(each.name, each.groups, each.pod_ranges) for each in (own, *others)], hops.__getitem__):
        found = _route(way, gateways[way.hop], claims)
        if isinstance(found, Route):
            routes.add(found)
        else:
            problems.append(found)
    return Wiring(frozenset(routes), tuple(problems))


def _on_link(own: Node, other: Node) -> bool:
    """Reports whether a node is on our link, as far as anybody told."""
    return not own.routers or not other.routers or not set(own.routers).isdisjoint(other.routers)


def _route(way: Way, gateways: tuple[Address, ...], claims: "_Claims") -> Route | Problem:
    subject, network = f"node {way.member}", way.destination
    gateway = next((each for each in gateways if each.version == network.version), None)
    what = f"{'the group' if way.whole else 'its pod range'} {network}"
    if gateway is None:
        whose = "its router has" if way.hop == _ROUTER else "it has"
        return Problem(subject, f"{whose} no IPv{network.version} address to route {what} through")
    taken = None if way.whole else claims.taken(network, way.member)
    if taken is not None:
        return Problem(subject, f"{what} overlaps {taken[0]} of node {taken[1]}")
    return Route(network, gateway)


class _Claims:
    """Which ranges are whose; no two overlap."""

    def __init__(self) -> None:
        self._starts: list[Packed] = []
        self._held: list[tuple[Network, str]] = []

    def taken(self, network: Network, holder: str) -> tuple[Network, str] | None:
        """Note a range, or tell which one that was noted it overlaps."""
        first, last = span(network)
        at = bisect_right(self._starts, first)
        if at and span(self._held[at - 1][0])[1] >= first:
            return self._held[at - 1]
        if at < len(self._starts) and self._starts[at] <= last:
            return self._held[at]
        self._starts.insert(at, first)
        self._held.insert(at, (network, holder))
        return None
