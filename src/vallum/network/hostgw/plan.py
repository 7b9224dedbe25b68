"""host-gw: one route for each other node's pod range, with that node's own address as the gateway.

Nothing is encapsulated, so every node must be on one link. Node objects do not tell who is; the kernel does,
when it refuses a gateway that no link reaches, and `kernel.sync` reports that.
"""

from vallum.model.address import Network
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Problem, Route, Wiring


def plan(snapshot: Snapshot, node: str) -> Wiring:
    """The routes of this node, and which other nodes cannot be reached. A node of no name known has none."""
    own = snapshot.nodes.get(node)
    routes: set[Route] = set()
    problems: list[Problem] = []
    claimed = dict.fromkeys(own.pod_ranges, node) if own else {}
    for other in sorted(snapshot.nodes.values(), key=lambda each: each.name):
        if other.name == node:
            continue
        if not other.pod_ranges:
            problems.append(Problem(f"node {other.name}", "it has no pod range, so nothing is routed to it"))
        for network in other.pod_ranges:
            found = _route(other, network, claimed)
            if isinstance(found, Route):
                claimed[network] = other.name
                routes.add(found)
            else:
                problems.append(found)
    return Wiring(frozenset(routes), tuple(problems))


def _route(node: Node, network: Network, claimed: dict[Network, str]) -> Route | Problem:
    subject = f"node {node.name}"
    for taken, holder in claimed.items():
        if taken.version == network.version and taken.overlaps(network):
            return Problem(subject, f"its pod range {network} overlaps {taken} of node {holder}")
    for address in node.addresses:
        if address.version == network.version:
            return Route(network, gateway=address)
    return Problem(subject, f"it has no IPv{network.version} address to route its pod range {network} through")
