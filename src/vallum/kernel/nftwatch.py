"""Who changed which nftables table: events of the kernel's own notification group, by transaction.

A transaction ends with NEWGEN, which names the process. A full buffer is an event of its own: it means doubt, and the
reader looks at the kernel instead of guessing.
"""

import struct
from dataclasses import dataclass

from vallum.kernel.nfnetlink import Message, messages, open_socket, queued

_GROUP = 7  # NFNLGRP_NFTABLES
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEWGEN = 15
_TABLE = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and their like: attribute 1 in all."""
INET, BRIDGE = 1, 7
"""NFPROTO_INET and NFPROTO_BRIDGE: the families that our tables are of."""
_NAMES = {0: "new table", 2: "deleted table", 3: "new chain", 5: "deleted chain", 6: "new rule", 8: "deleted rule"}
_NAMES |= {9: "new set", 11: "deleted set", 12: "new element", 14: "deleted element"}


@dataclass(frozen=True, slots=True)
class Transaction:
    """A committed change of one of our tables. `what` counts kinds of change; `pid` is the machine's view."""

    portid: int
    pid: int
    program: str
    what: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Overflow:
    """Events were lost: read back."""


class NftWatch:
    """A socket for `loop.add_reader`; `drain` returns what has happened to `table` since the last call."""

    def __init__(self, table: str, family: int = INET) -> None:
        self._family = family
        self._table = table.encode() + b"\0"
        self._socket = open_socket(_GROUP)
        self._what: dict[str, int] = {}

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def drain(self) -> list[Transaction | Overflow]:
        """Everything that is queued. A transaction that did not touch our table is left out."""
        found: list[Transaction | Overflow] = []
        for data in queued(self._socket):
            if data is None:
                self._what.clear()
                found.append(Overflow())
            else:
                found += filter(None, map(self._take, messages(data)))
        return found

    def _take(self, message: Message) -> Transaction | None:
        if message.subsystem != _SUBSYSTEM:
            return None
        if message.type == _NEWGEN:
            what, self._what = tuple(sorted(self._what.items())), {}
            if not what:
                return None
            told = message.attributes
            pid = struct.unpack("!I", told.get(2, b"\0\0\0\0"))[0]
            program = told.get(3, b"?").rstrip(b"\0").decode(errors="replace")
            return Transaction(message.portid, pid, program, what)
        if message.family == self._family and self._is_about(message.body):
            name = _NAMES.get(message.type, f"message {message.type}")
            self._what[name] = self._what.get(name, 0) + 1
        return None

    def _is_about(self, body: bytes) -> bool:
        """Every message names its table, and names it first; a change of ours alone is hundreds of them."""
        length, kind = struct.unpack_from("=HH", body) if len(body) >= 4 else (0, 0)
        return kind == _TABLE and body[4:length] == self._table
