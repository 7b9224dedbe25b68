"""Packets that the kernel logged to an NFLOG group (linux/netfilter/nfnetlink_log.h): a drop is known, not
guessed from silence.
"""

import errno
import struct
from dataclasses import dataclass
from itertools import islice
from select import select

from vallum.kernel.nfnetlink import ERROR, Message, attribute, error_code, message, messages, open_socket, queued
from vallum.model.errors import KernelError

_SUBSYSTEM = 4  # NFNL_SUBSYS_ULOG
_CONFIG, _PACKET = 1, 0
_BIND, _COPY_PACKET = 1, 2
_REQUEST_ACK = 1 | 4
_PATIENCE = 2.0
"""Seconds for the kernel's answer."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One logged packet: the rule's prefix, interface indexes (0: none), and the packet from its IP header on."""

    prefix: str
    indev: int
    outdev: int
    payload: bytes


MOST = 32
"""Datagrams that are read at once."""


class Nflog:
    """A reader of one group in the caller's network namespace, for `loop.add_reader`.

    Raises KernelError when another program holds the group or the kernel has no NFLOG.
    """

    def __init__(self, group: int, snaplen: int = 128) -> None:
        self._socket = open_socket(receive_buffer=1 << 22)
        self.lost = 0
        """Times the kernel said that records were lost (buffer full)."""
        self._early: list[Logged] = []
        bind = attribute(1, struct.pack("!B", _BIND))
        mode = attribute(2, struct.pack("!IBB", snaplen, _COPY_PACKET, 0)) + attribute(5, struct.pack("!I", 1))
        for body in (bind, mode):
            self._ask(group, body)

    def _ask(self, group: int, body: bytes) -> None:
        """Under a flood records come before the kernel's answer, and are kept: they are denials like any other."""
        self._socket.send(message(_SUBSYSTEM, _CONFIG, _REQUEST_ACK, group, body))
        while True:
            if not select([self._socket], [], [], _PATIENCE)[0]:
                raise KernelError(f"NFLOG group {group}: the kernel does not answer")
            for data in queued(self._socket):
                code = None if data is None else error_code(data, (ERROR,))
                if code is None:
                    self._early += self._read(data)
                elif code:
                    why = errno.errorcode.get(-code, str(code))
                    raise KernelError(f"NFLOG group {group}: {why}; another program may read it")
                else:
                    return

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; the kernel then forgets the group."""
        self._socket.close()

    def drain(self) -> list[Logged]:
        """What is queued, of a flood its beginning: who is shot at must still come to do other things."""
        found, self._early = self._early, []
        for data in islice(queued(self._socket), MOST):
            found += self._read(data)
        return found

    def _read(self, data: bytes | None) -> list[Logged]:
        if data is None:
            self.lost += 1
            return []
        return [_logged(one) for one in messages(data) if (one.subsystem, one.type) == (_SUBSYSTEM, _PACKET)]


def _logged(one: Message) -> Logged:
    told = one.attributes
    prefix = told.get(10, b"").rstrip(b"\0").decode(errors="replace")
    indev, outdev = (int.from_bytes(told.get(kind, b"\0"), "big") for kind in (4, 5))
    return Logged(prefix, indev, outdev, told.get(9, b""))
