"""ipip: one device, and for each other node a route through it to each of its IPv4 ranges.

The next hop of a route is the other node, which is where the kernel's own device sends the outer packet to; where
programs stand in its place, `Carried` tells them the same. What it ignores: IPv6, which only vxlan carries, who owns
which range and whether a pair of nodes needs a tunnel at all (`roads`).
"""

from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_interface

from vallum.model.address import Address
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Carried, Ipip, Origin, Problem, Route, Wiring
from vallum.network.ends import ends
from vallum.network.memo import Memo
from vallum.network.options import Options

DEVICE = "vallum.ipip"
OVERHEAD = 20
"""Bytes of the outer header."""


@dataclass(frozen=True, slots=True)
class _Peer:
    """What one other node takes: the other end, and the entries. Without an end there are none."""

    remote: Address | None = None
    routes: frozenset[Route] = frozenset()
    carried: frozenset[Carried] = frozenset()
    origins: frozenset[Origin] = frozenset()
    problems: tuple[Problem, ...] = ()


_PEERS: Memo[_Peer] = Memo()


def plan(snapshot: Snapshot, node: str, options: Options) -> Wiring:
    """See `Backend`. Its `mtu` is that of the device."""
    ground, subject = options.ground, f"node {node}"
    local = ends(snapshot.nodes.get(node) or Node(node)).get(4)
    if local is None:
        text = "it has no IPv4 address of its own to send ipip packets from; use vxlan"
        return Wiring(problems=(Problem(subject, text),))
    if not ground.ipip:
        return Wiring(problems=(Problem(subject, f"it cannot send ipip packets ({ground.no_ipip}); use vxlan"),))
    others = [snapshot.nodes[name] for name in sorted(snapshot.nodes.keys() - {node})]
    peers = [
        _PEERS.get((node, each.name), (each, options.sources), partial(_peer, each, options.sources)) for each in others
    ]
    hops = [ground.hops.get(each.remote) for each in peers if each.remote is not None]
    mtu = min([ground.mtu, *(hop.mtu for hop in hops if hop is not None)]) - OVERHEAD
    addresses = tuple(ip_interface(each) for each in options.sources if each.version == 4)
    return Wiring(
        frozenset().union(*(each.routes for each in peers)),
        tuple(problem for each in peers for problem in each.problems),
        frozenset({Ipip(DEVICE, ground.ipip, mtu, local, addresses)}),
        carried=frozenset().union(*(each.carried for each in peers)),
        origins=frozenset().union(*(each.origins for each in peers)),
        mtu=mtu,
    )


def _peer(peer: Node, sources: tuple[Address, ...]) -> _Peer:
    subject, remote = f"node {peer.name}", ends(peer).get(4)
    if remote is None:
        return _Peer(problems=(Problem(subject, "it has no IPv4 address to send ipip packets to; use vxlan"),))
    problems = tuple(
        Problem(subject, f"its pod range {network} is of IPv6, which ipip does not carry; use vxlan")
        for network in peer.pod_ranges
        if network.version == 6
    )
    source = next((each for each in sources if each.version == 4), None)
    carried = frozenset(Carried(DEVICE, each, remote) for each in peer.pod_ranges if each.version == 4)
    # packets to a node's own address are not encapsulated, but what it answers a pod is
    own = [IPv4Network(each) for each in peer.addresses if isinstance(each, IPv4Address)]
    return _Peer(
        remote,
        frozenset(Route(each.inner, remote, DEVICE, onlink=True, source=source) for each in carried),
        carried,
        frozenset(Origin(DEVICE, remote, inner) for inner in (*(each.inner for each in carried), *own)),
        problems,
    )
