"""Told by the kernel that links, addresses, routes, our entries or interface settings of a namespace changed, or that
a program was taken off a link.

An event only says what to look at again; what is there now is read. A full buffer is therefore no loss, it is
doubt: look at everything. What comes and goes with single pods is told apart from what others may be reached by, since
looking at that takes long in a large cluster. Neighbours come and go by the thousand, in bursts that anybody may cause:
those that are not on a tunnel device of ours are dropped by a filter in the kernel, and what changes on such a device
before its making was heard of is not told.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from enum import Enum
from typing import Self

from vallum.kernel.netlink import attributes, messages
from vallum.kernel.rtmessages import (
    FAMILIES,
    GETROUTE,
    SCOPE_LINK,
    RouteTold,
    integer,
    read_name,
    read_route,
    routes,
)
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.wiring import DEVICE_PREFIX, ROUTE_PROTOCOL

_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_ATTACH_FILTER = 270, 1, 26
_BUFFER = 1 << 16


class Change(Enum):
    """What to look at again. DOUBT: events were lost, so everything. PODS: links that lead to a single address, which
    comes or goes with them, and addresses and routes that are of no use beyond a link.
    """

    LINKS = "links"
    ADDRESSES = "addresses"
    ENTRIES = "entries"
    ROUTES = "routes"
    SETTINGS = "settings"
    PROGRAMS = "programs"
    PODS = "pods"
    DOUBT = "doubt"


_GROUPS = {1: "LINK", 3: "NEIGH", 4: "TC", 5: "IPV4_IFADDR", 7: "IPV4_ROUTE", 9: "IPV6_IFADDR", 11: "IPV6_ROUTE"} | {
    24: "IPV4_NETCONF",
    25: "IPV6_NETCONF",
}
_NEWLINK, _DELLINK, _NEWNEIGH, _DELNEIGH = 16, 17, 28, 29
_KINDS = {
    _NEWLINK: Change.LINKS,
    _DELLINK: Change.LINKS,
    20: Change.ADDRESSES,
    21: Change.ADDRESSES,
    24: Change.ROUTES,
    25: Change.ROUTES,
    _NEWNEIGH: Change.ENTRIES,
    _DELNEIGH: Change.ENTRIES,
    37: Change.PROGRAMS,  # with the queueing discipline that it hung on
    45: Change.PROGRAMS,
    80: Change.SETTINGS,
    81: Change.SETTINGS,
}

_TYPE_AT, _INDEX_AT = 4, 20
"""Of nlmsg_type, and of ndm_ifindex and tcm_ifindex in the messages that have them."""
_TABLE_AT, _SCOPE_AT, _NETCONF, _NETCONF_INDEX = 20, 19, 20, 1
"""Of rtm_table and ifa_scope; of the attributes of RTM_NEWNETCONF, and that one of them that names the link."""
_LOCAL, _ALL_LINKS = 255, 1 << 31
"""RT_TABLE_LOCAL; NETCONFA_IFINDEX_ALL and _DEFAULT are negative."""
_MOST = 64
"""Devices that a filter lists; it jumps at most 255 steps."""
_LOAD_HALF, _LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_ALL, _NOTHING = 0xFFFFFFFF, 0


class RouteWatch:
    """Watches the namespace of the thread that made it. `fileno` serves `loop.add_reader`; then call `read`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        self._ours: frozenset[int] = frozenset()
        self._ways: set[int] = set()
        self._filter()
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._look()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> frozenset[Change]:
        """What changed since the last call; never waits."""
        found: set[Change] = set()
        while True:
            try:
                packet = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return frozenset(found)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.add(Change.DOUBT)
                self._look()
                continue
            found |= {self._change(kind, data) for kind, _, data in messages(packet) if kind in _KINDS}

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, kind: int, data: bytes) -> Change:
        match _KINDS[kind]:
            case Change.LINKS:
                index, name = read_name(data)
                ours = name.startswith(DEVICE_PREFIX)
                if ours or index in self._ours:
                    self._listen(self._ours | {index} if ours and kind == _NEWLINK else self._ours - {index})
                    return Change.LINKS
                return Change.LINKS if index in self._ways else Change.PODS
            case Change.ROUTES:
                told = read_route(data)
                if data[_TABLE_AT] == _LOCAL or not self._leads_on(told):
                    return Change.PODS
                self._ways.add(told.index or 0)
                return Change.ROUTES
            case Change.ADDRESSES:
                return Change.PODS if data[_SCOPE_AT] == SCOPE_LINK else Change.ADDRESSES
            case Change.SETTINGS:
                index = integer(dict(attributes(data[_NETCONF:])).get(_NETCONF_INDEX))
            case _:
                (index,) = struct.unpack_from("=I", data, _INDEX_AT)
        return _KINDS[kind] if index in self._ways | self._ours or index >= _ALL_LINKS else Change.PODS

    def _leads_on(self, route: RouteTold) -> bool:
        """Reports whether more than one address of one link may be reached by it, or if it is ours."""
        if route.protocol == ROUTE_PROTOCOL:
            return True
        destination, single = route.destination, route.destination.prefixlen == route.destination.max_prefixlen
        if destination.is_link_local or destination.is_multicast:
            return False
        return not (single and route.plain and route.gateway is None and route.index not in self._ways)

    def _look(self) -> None:
        """Which tunnel devices there are now, and which links lead on."""
        with Rtnetlink() as netlink:
            self._listen({link.index for link in netlink.links() if link.name.startswith(DEVICE_PREFIX)})
            for version in FAMILIES:
                told = map(read_route, netlink.dump("read routes", GETROUTE, routes(version)))
                self._ways |= {route.index or 0 for route in told if self._leads_on(route)}

    def _listen(self, ours: Collection[int]) -> None:
        if ours != self._ours:
            self._ours = frozenset(ours)
            self._filter()

    def _filter(self) -> None:
        """Neighbours of these devices only; of more devices than a filter lists, all."""
        code = b"".join(_program(self._ours if len(self._ours) <= _MOST else None))
        held = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _program(ours: Collection[int] | None) -> Iterator[bytes]:
    """Classic BPF over one event: everything passes but a neighbour on another interface than `ours` (None: any)."""
    if ours is not None:
        yield _step(_LOAD_HALF, value=_TYPE_AT)
        yield _step(_JUMP_EQUAL, value=_loaded(_NEWNEIGH, 2), then=1)
        yield _step(_JUMP_EQUAL, value=_loaded(_DELNEIGH, 2), otherwise=len(ours) + 2)
        yield _step(_LOAD_WORD, value=_INDEX_AT)
        for left, index in enumerate(sorted(ours, reverse=True)):
            yield _step(_JUMP_EQUAL, value=_loaded(index, 4), then=len(ours) - left)
        yield _step(_RETURN, value=_NOTHING)
    yield _step(_RETURN, value=_ALL)


def _step(code: int, *, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _loaded(number: int, length: int) -> int:
    """As a filter loads it: in network order, whereas netlink writes in that of the machine."""
    return int.from_bytes(number.to_bytes(length, sys.byteorder))
