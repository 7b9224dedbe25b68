"""The framing that nftables events and NFLOG share (linux/netfilter/nfnetlink.h): messages and attributes.

Only decoding and one socket; what the messages mean stands in `nftwatch` and `nflog`.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
ADD_MEMBERSHIP = 1
_HEADER = struct.Struct("=IHHII")
_GENERAL = struct.Struct("!BBH")
ERROR, DONE = 2, 3
_KIND = 0x3FFF
"""Attribute types less the bits for nesting and byte order."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: subsystem and type, address family, resource id, sender's port id, and a body of attributes."""

    subsystem: int
    type: int
    family: int
    resource: int
    portid: int
    body: bytes

    @property
    def attributes(self) -> dict[int, bytes]:
        """By type; read anew at each call, since of most messages nobody wants them."""
        return dict(attributes(self.body))


def open_socket(group: int = 0, receive_buffer: int = 1 << 20) -> socket.socket:
    """A non-blocking nfnetlink socket of the calling thread's network namespace, in a multicast group if given."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((0, 0))
    if group:
        sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    sock.setblocking(False)
    return sock


def queued(sock: socket.socket) -> Iterator[bytes | None]:
    """Every datagram that waits in a non-blocking socket; None where the kernel lost some for want of room."""
    while True:
        try:
            yield sock.recv(1 << 17)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None


def messages(data: bytes) -> Iterator[Message]:
    """The nfnetlink messages in one datagram; control messages (errors, done) are left out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _flags, _sequence, portid = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        if kind >= 0x100 and length >= _HEADER.size + _GENERAL.size:
            family, _version, resource = _GENERAL.unpack_from(data, offset + _HEADER.size)
            body = data[offset + _HEADER.size + _GENERAL.size : offset + length]
            yield Message(kind >> 8, kind & 0xFF, family, resource, portid, body)
        offset += (length + 3) & ~3


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each attribute, nesting and byte-order bits removed."""
    offset = 0
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return
        yield kind & _KIND, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def message(
    subsystem: int, kind: int, flags: int, resource: int, body: bytes, *, family: int = socket.AF_UNSPEC
) -> bytes:
    """One request."""
    general = _GENERAL.pack(family, 0, resource)
    length = _HEADER.size + len(general) + len(body)
    return _HEADER.pack(length, subsystem << 8 | kind, flags, 1, 0) + general + body


def error_code(data: bytes, ends: tuple[int, ...] = (ERROR, DONE)) -> int | None:
    """The code of an error or done message in a datagram (0 is success); None when there is none.

    Args:
        data: the datagram.
        ends: the types that have one here: records of NFLOG come in parts, and a part's end has none.
    """
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind in ends:
            return int(struct.unpack_from("=i", data, offset + _HEADER.size)[0]) if length >= 20 else 0
        offset += max((length + 3) & ~3, _HEADER.size)
    return None
