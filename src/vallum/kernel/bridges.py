"""Where a pod sits that another plugin wired: the device that its address is routed to, and its port on a bridge.

A pod with a route of its own is none of this file's business. For the others the node has a route to their whole
range, mostly to a bridge; who has asked for the address before knows its MAC, and the bridge knows the MAC's port.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from vallum.kernel import sysctl
from vallum.kernel.rtmessages import GETNEIGH, Neighbour, neighbours, read_neighbour
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import Packed, pack, unpack

_FILTERED = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """The device towards an address. `port` is empty for a device that is no bridge, or not seen sending yet."""

    device: str
    bridged: bool = False
    port: str = ""


def seats(netlink: Rtnetlink, addresses: Iterable[Packed]) -> dict[Packed, Seat]:
    """The seat of each address that some route of the main table reaches without a gateway. Raises RequestError."""
    names = {link.index: link.name for link in netlink.links()}
    ways = [
        (held.route.destination, held.route.device)
        for held in netlink.routes()
        if held.route.gateway is None and held.route.device
    ]
    ways.sort(key=lambda way: -way[0].prefixlen)
    macs = _macs(netlink, names)
    ports, bridges = _ports(netlink, names)
    found = {}
    for address in addresses:
        own = unpack(address)
        device = next((name for network, name in ways if own in network), None)
        if device is not None:
            port = ports.get((device, macs.get((device, address), "")), "")
            found[address] = Seat(device, device in bridges, port)
    return found


def filter_bridges() -> None:
    """Have br_netfilter hand this namespace's bridged packets to the inet tables. Raises KernelError if it cannot."""
    for key in _FILTERED:
        if sysctl.read(key) != "1":
            sysctl.write(key, 1)


def _macs(netlink: Rtnetlink, names: dict[int, str]) -> dict[tuple[str, Packed], str]:
    """(device, address) -> MAC of every neighbour that is known."""
    return {
        (names[each.index], pack(each.address)): each.mac
        for each in _dumped(netlink, socket.AF_UNSPEC)
        if each.address and each.mac and each.index in names
    }


def _ports(netlink: Rtnetlink, names: dict[int, str]) -> tuple[dict[tuple[str, str], str], frozenset[str]]:
    """(bridge, MAC) -> port, and which devices are bridges: each has entries for its ports' own MACs."""
    found = {}
    for each in _dumped(netlink, socket.AF_BRIDGE):
        bridge, port = names.get(each.master), names.get(each.index)
        if bridge and port and port != bridge:
            found[bridge, each.mac] = port
    return found, frozenset(bridge for bridge, _ in found)


def _dumped(netlink: Rtnetlink, family: int) -> Iterable[Neighbour]:
    return map(read_neighbour, netlink.dump("read neighbours", GETNEIGH, neighbours(family)))
