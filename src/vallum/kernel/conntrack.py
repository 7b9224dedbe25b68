"""Connection tracking through ctnetlink (linux/netfilter/nfnetlink_conntrack.h): only the marks of entries."""

import errno
import socket
import struct

from vallum.kernel.nfnetlink import Message, attribute, error_code, message, messages, open_socket
from vallum.model.errors import KernelError

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET = 0, 1
_TUPLE, _MARK, _ZONE, _MARK_MASK = 1, 8, 18, 21
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_NESTED = 0x8000
_PATIENCE = 10.0


def clear_marks(mask: int, keep: int = 0) -> int:
    """Set these bits to 0 in every entry that has them at something else than `keep`. Returns how many.

    Raises KernelError where the kernel has no ctnetlink. An entry that ends meanwhile is no error.
    """
    with open_socket(receive_buffer=1 << 22) as sock:
        sock.settimeout(_PATIENCE)
        stale = [entry for entry in _dump(sock) if _bits(entry, mask) not in (0, keep)]
        for entry in stale:
            _clear(sock, entry, mask)
    return len(stale)


def _bits(entry: Message, mask: int) -> int:
    return int.from_bytes(entry.attributes.get(_MARK, b"\0"), "big") & mask


def _dump(sock: socket.socket) -> list[Message]:
    sock.send(message(_SUBSYSTEM, _GET, _REQUEST | _DUMP, 0, b""))
    found: list[Message] = []
    while True:
        data = sock.recv(1 << 18)
        found += [one for one in messages(data) if one.subsystem == _SUBSYSTEM]
        control = error_code(data)
        if control is not None:
            if control:
                raise KernelError(f"conntrack: list: {errno.errorcode.get(-control, str(control))}")
            return found


def _clear(sock: socket.socket, entry: Message, mask: int) -> None:
    body = attribute(_TUPLE | _NESTED, entry.attributes[_TUPLE])
    if _ZONE in entry.attributes:
        body += attribute(_ZONE, entry.attributes[_ZONE])
    body += attribute(_MARK, struct.pack("!I", 0)) + attribute(_MARK_MASK, struct.pack("!I", mask))
    sock.send(message(_SUBSYSTEM, _NEW, _REQUEST | _ACK, 0, body, family=entry.family))
    code = error_code(sock.recv(1 << 16))
    if code and -code != errno.ENOENT:
        raise KernelError(f"conntrack: clear a mark: {errno.errorcode.get(-code, str(code))}")
