"""What the kernel holds of what is ours: tunnel devices, what is on them, and routes; and who else has a route where.

Read whole, in a few dumps. What it ignores: entries of devices that are not ours, and learned ones.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from vallum.kernel import rtmessages, tunnels
from vallum.kernel.differ import Own
from vallum.kernel.netlink import Netlink
from vallum.kernel.offload import Offload, is_on
from vallum.kernel.rtmessages import FAMILIES, GETADDR, GETLINK, GETNEIGH, GETROUTE
from vallum.kernel.rtnetlink import HeldRoute, held_route
from vallum.kernel.tunnels import HeldDevice
from vallum.model.address import Network
from vallum.model.errors import KernelError
from vallum.model.wiring import DEVICE_PREFIX, ROUTE_PROTOCOL, Forward, Neighbour


@dataclass(frozen=True, slots=True)
class Entries:
    """What is on our devices. `odd`: what is there, but learned, or leading to another port or VNI."""

    owns: frozenset[Own] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwards: frozenset[Forward] = frozenset()
    odd: tuple[Forward, ...] = ()


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of the main table: ours, and the first of somebody else for each destination."""

    ours: tuple[HeldRoute, ...] = ()
    others: Mapping[Network, HeldRoute] = field(default_factory=dict)


def devices(netlink: Netlink) -> tuple[HeldDevice, ...]:
    """All links, those of ours with every property. Raises KernelError."""
    return tuple(map(_device, netlink.dump("read links", GETLINK, rtmessages.links())))


def entries(netlink: Netlink, indexes: Mapping[str, int]) -> Entries:
    """What is on these devices, by name with their index. Raises KernelError."""
    owns: set[Own] = set()
    neighbours: set[Neighbour] = set()
    forwards: set[Forward] = set()
    odd = []
    for name, index in indexes.items():
        owns |= _owns(netlink, name, index)
        for data in netlink.dump(f"read neighbours on {name}", GETNEIGH, rtmessages.neighbours(index=index)):
            one = rtmessages.read_neighbour(data)
            if one.index == index and one.permanent and one.address is not None and one.mac:
                neighbours.add(Neighbour(name, one.address, one.mac))
        query = rtmessages.neighbours(socket.AF_BRIDGE, index)
        for data in netlink.dump(f"read entries of {name}", GETNEIGH, query):
            one = rtmessages.read_neighbour(data)
            if one.index != index or one.address is None:
                continue
            entry = Forward(name, one.mac, one.address)
            if one.permanent and not one.elsewhere:
                forwards.add(entry)
            else:
                odd.append(entry)
    return Entries(frozenset(owns), frozenset(neighbours), frozenset(forwards), tuple(odd))


def routes(netlink: Netlink, names: Mapping[int, str]) -> Routes:
    """The unicast routes of the main table in both families. `names`: of links, by index. Raises KernelError."""
    ours, others = [], {}
    for version in FAMILIES:
        for data in netlink.dump("read routes", GETROUTE, rtmessages.routes(version)):
            told = rtmessages.read_route(data)
            if not told.unicast:
                continue
            if told.protocol == ROUTE_PROTOCOL:
                ours.append(held_route(told, names))
            elif told.destination not in others:
                others[told.destination] = held_route(told, names)
    return Routes(tuple(ours), others)


def _device(data: bytes) -> HeldDevice:
    """Its offloads are asked for where they are ours to set; a link that goes meanwhile has none."""
    _, name = rtmessages.read_name(data)
    return tunnels.read(data, _offload(name))


def _offload(name: str) -> bool | None:
    if not name.startswith(DEVICE_PREFIX):
        return None
    with suppress(KernelError):
        return is_on(name, Offload.TX_CHECKSUM)
    return None


def _owns(netlink: Netlink, name: str, index: int) -> frozenset[Own]:
    """Without the link-local ones of IPv6, which the kernel makes itself."""
    found = set()
    for version in FAMILIES:
        for data in netlink.dump(f"read addresses of {name}", GETADDR, rtmessages.addresses(version, index)):
            at, own = rtmessages.read_address(data)
            if at == index and not (version == 6 and own.is_link_local):
                found.add(Own(name, own))
    return frozenset(found)
