"""Told by the kernel that links, addresses, routes or interface settings of a namespace changed.

An event only says what to look at again; what is there now is read. A full buffer is therefore no loss, it is
doubt: look at everything.
"""

import errno
import socket
from enum import Enum
from typing import Self

from vallum.kernel.netlink import messages

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_BUFFER = 1 << 16


class Change(Enum):
    """What to look at again. DOUBT: events were lost, so everything."""

    LINKS = "links"
    ADDRESSES = "addresses"
    ROUTES = "routes"
    SETTINGS = "settings"
    DOUBT = "doubt"


_GROUPS = {1: "LINK", 5: "IPV4_IFADDR", 7: "IPV4_ROUTE", 9: "IPV6_IFADDR", 11: "IPV6_ROUTE"} | {
    24: "IPV4_NETCONF",
    25: "IPV6_NETCONF",
}
_KINDS = {
    16: Change.LINKS,
    17: Change.LINKS,
    20: Change.ADDRESSES,
    21: Change.ADDRESSES,
    24: Change.ROUTES,
    25: Change.ROUTES,
    80: Change.SETTINGS,
    81: Change.SETTINGS,
}


class RouteWatch:
    """Watches the namespace of the thread that made it. `fileno` serves `loop.add_reader`; then call `read`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

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
                continue
            found |= {_KINDS[kind] for kind, _, _ in messages(packet) if kind in _KINDS}

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
