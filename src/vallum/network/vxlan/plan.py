"""vxlan: a device for each family of outer packets; for each other node a permanent neighbour, a forwarding entry and
a route for each of its ranges. Nothing is learned and nothing is flooded.

A node's MAC address is a hash of its name, so that everybody knows it without being told and it stays the same
whatever becomes of the device. What it ignores: who owns which range and whether a pair of nodes needs a tunnel at all
(`roads`), and how the checks of what arrives are made (`kernel`).
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from ipaddress import IPv6Address, ip_interface, ip_network

from vallum.model.address import Address
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Device, Forward, Neighbour, Origin, Problem, Route, Vxlan, Wiring
from vallum.network.ends import ends, outer_family, source_for
from vallum.network.memo import Memo
from vallum.network.options import Options

DEVICES = {4: "vallum.vxlan4", 6: "vallum.vxlan6"}
"""By the family of outer packets."""
OVERHEAD = {4: 50, 6: 70}
"""Bytes: outer IP, UDP (8), VXLAN (8) and inner Ethernet (14) headers."""
_LINK_LOCAL = int(IPv6Address("fe80::"))


@dataclass(frozen=True, slots=True)
class _Peer:
    """What one other node takes: the device by its family, its MAC address there, and the entries."""

    family: int
    mac: tuple[int, str]
    routes: frozenset[Route]
    neighbours: frozenset[Neighbour]
    forwards: frozenset[Forward]
    origins: frozenset[Origin]


_PEERS: Memo[_Peer | Problem] = Memo()


def plan(snapshot: Snapshot, node: str, options: Options) -> Wiring:
    """See `Backend`. Its `mtu` is the least of its devices'."""
    mine = ends(snapshot.nodes.get(node) or Node(node))
    preferred = outer_family(mine, mine, options.outer)
    if preferred is None:
        return Wiring(problems=(Problem(f"node {node}", "it has no address of its own to send vxlan packets from"),))
    peers, problems = _peers(snapshot, node, mine, options)
    families = {preferred, *(each.family for each in peers)}
    room = {family: options.ground.mtu - OVERHEAD[family] for family in families}
    return Wiring(
        frozenset().union(*(each.routes for each in peers)),
        tuple(problems),
        frozenset(_device(node, mine[family], mtu, options) for family, mtu in room.items()),
        frozenset().union(*(each.neighbours for each in peers)),
        frozenset().union(*(each.forwards for each in peers)),
        origins=frozenset().union(*(each.origins for each in peers)),
        mtu=min(room.values()),
    )


@lru_cache(16_384)
def mac_of(node: str, family: int) -> str:
    """The MAC address of a node's device: locally administered, unicast."""
    return "02:" + blake2b(f"{node} {family}".encode(), digest_size=5).digest().hex(":")


def link_local(mac: str) -> Address:
    """The IPv6 address that a device with this MAC gives itself (RFC 4291, EUI-64)."""
    one, *rest = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(_LINK_LOCAL | int.from_bytes(bytes([one ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])))


def _device(node: str, local: Address, mtu: int, options: Options) -> Device:
    family = local.version
    addresses = tuple(ip_interface(each) for each in options.sources)
    mac = mac_of(node, family)
    return Vxlan(DEVICES[family], options.vni, options.port, mac, mtu, local, options.checksum, addresses)


def _peers(
    snapshot: Snapshot, node: str, mine: dict[int, Address], options: Options
) -> tuple[list[_Peer], list[Problem]]:
    macs = {(family, mac_of(node, family)): node for family in mine}
    families = tuple(mine)
    peers: list[_Peer] = []
    problems: list[Problem] = []
    for name in sorted(snapshot.nodes.keys() - {node}):
        peer = snapshot.nodes[name]
        given = (peer, families, options.outer, options.sources)
        found = _PEERS.get((node, name), given, partial(_peer, peer, mine, options))
        if isinstance(found, _Peer):
            holder = macs.setdefault(found.mac, name)
            if holder == name:
                peers.append(found)
                continue
            text = f"its name leads to the same MAC address {found.mac[1]} as that of node {holder}; rename one of them"
            found = Problem(f"node {name}", text)
        problems.append(found)
    return peers, problems


def _peer(peer: Node, mine: dict[int, Address], options: Options) -> _Peer | Problem:
    theirs = ends(peer)
    family = outer_family(mine, theirs, options.outer)
    if family is None:
        have = " and ".join(f"IPv{each}" for each in theirs) or "no"
        text = f"it has {have} addresses and this node has others, so nothing can be sent to it; give both one family"
        return Problem(f"node {peer.name}", text)
    mac, remote, device = mac_of(peer.name, family), theirs[family], DEVICES[family]
    routes, neighbours = set(), set()
    for network in peer.pod_ranges:
        # the kernel takes an IPv6 gateway that is on another link for a mistake, an IPv4 one not
        gateway = remote if network.version == family == 4 else link_local(mac)
        neighbours.add(Neighbour(device, gateway, mac))
        routes.add(Route(network, gateway, device, onlink=True, source=source_for(network, options)))
    # packets to a node's own address are not encapsulated, but what it answers a pod is
    inner = (*peer.pod_ranges, *map(ip_network, peer.addresses))
    return _Peer(
        family,
        (family, mac),
        frozenset(routes),
        frozenset(neighbours),
        frozenset({Forward(device, mac, remote)}),
        frozenset(Origin(device, remote, each) for each in inner),
    )
