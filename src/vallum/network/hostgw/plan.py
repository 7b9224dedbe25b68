"""host-gw: one route for each pod range of a node on this link, with that node's own address as the gateway; one for
each group of addresses behind the link's router, with that router as the gateway.

Nothing is encapsulated. Nodes that name a router (`Node.routers`) share a link when they name the same one; of others
`roads` has found that they are on this link.
"""

from collections.abc import Iterable
from functools import partial

from vallum.model.address import Address
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Problem, Route, Wiring
from vallum.network.aggregate import Member, Way, ways
from vallum.network.memo import Memo
from vallum.network.options import Options

_ROUTER = ""
"""The direction of whatever lies behind the router: no node has this name."""


def plan(snapshot: Snapshot, node: str, options: Options) -> Wiring:  # noqa: ARG001 - routes need no settings
    """See `Backend`. A node of no name known has the routes to all others."""
    own = snapshot.nodes.get(node) or Node(node)
    others = [snapshot.nodes[name] for name in sorted(snapshot.nodes.keys() - {node})]
    if any(each.groups for each in (own, *others)):
        return _by_group(own, others)
    found = [_PEERS.get((node, each.name), (each, own.routers), partial(_by_peer, own, each)) for each in others]
    return Wiring(
        frozenset().union(*(each.routes for each in found)), tuple(p for each in found for p in each.problems)
    )


def _by_group(own: Node, others: list[Node]) -> Wiring:
    gateways = {each.name: _first(each.addresses) for each in others} | {_ROUTER: _first(own.routers)}
    hops: dict[str, str | None] = {own.name: None} | {each.name: _hop(own, each) for each in others}
    members = [Member(each.name, each.groups, each.pod_ranges) for each in (own, *others)]
    return _wiring(_route(way, gateways[way.hop]) for way in ways(members, hops.__getitem__))


def _by_peer(own: Node, peer: Node) -> Wiring:
    hop = _hop(own, peer)
    gateways = _first(own.routers if hop == _ROUTER else peer.addresses)
    return _wiring(_route(Way(network, hop, peer.name), gateways) for network in peer.pod_ranges)


_PEERS: Memo[Wiring] = Memo()


def _hop(own: Node, other: Node) -> str:
    """The direction of a node: its own name where it is on our link, as far as anybody told."""
    on_link = not own.routers or not other.routers or not set(own.routers).isdisjoint(other.routers)
    return other.name if on_link else _ROUTER


def _first(addresses: tuple[Address, ...]) -> dict[int, Address]:
    """By family."""
    return {each.version: each for each in reversed(addresses)}


def _wiring(found: Iterable[Route | Problem]) -> Wiring:
    each = list(found)
    return Wiring(frozenset(e for e in each if isinstance(e, Route)), tuple(e for e in each if isinstance(e, Problem)))


def _route(way: Way, gateways: dict[int, Address]) -> Route | Problem:
    network = way.destination
    gateway = gateways.get(network.version)
    if gateway is not None:
        return Route(network, gateway)
    what = f"{'the group' if way.whole else 'its pod range'} {network}"
    whose = "its router has" if way.hop == _ROUTER else "it has"
    return Problem(f"node {way.member}", f"{whose} no IPv{network.version} address to route {what} through")
