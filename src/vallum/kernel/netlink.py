"""A blocking rtnetlink socket: requests with their acknowledgement, many of them at once, and whole dumps.

`rtmessages` packs and reads the messages. A request takes 0.1 ms, which needs no event loop.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from errno import EINTR
from typing import Self

from vallum.model.errors import KernelError

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400

_ERROR, _DONE = 2, 3
_MULTI, _DUMP_INTERRUPTED, _ACK_TLVS = 0x2, 0x10, 0x200
_MESSAGE = 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18
_PATIENCE = 8
_AT_ONCE = 128
"""Messages in one packet: all of them refused, with reasons, fill less than a socket's buffer."""


class RequestError(KernelError):
    """The kernel refused a request; `errno` says how, the text has the kernel's own words where it gave some."""

    def __init__(self, operation: str, errno: int, words: str = "") -> None:
        super().__init__(f"{operation}: {words or os.strerror(errno)}")
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one message of many was refused: the errno, and the kernel's own words where it gave some."""

    errno: int
    words: str

    def error(self, operation: str) -> RequestError:
        """The error that `request` would have raised."""
        return RequestError(operation, self.errno, self.words)


class InterruptedDumpError(Exception):
    """The table changed while it was being dumped."""


class Netlink:
    """One socket, living in the network namespace in which it was made.

    Args:
        handed: a socket that another process made in another namespace; it is ours from now on.
    """

    def __init__(self, handed: socket.socket | None = None) -> None:
        self._socket = handed or socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, operation: str, kind: int, message: bytes, flags: int = 0) -> bytes | None:
        """Send and await the acknowledgement. The answer to a query, if one came. Raises RequestError.

        Args:
            operation: for the error text, as a person would say it.
            kind: RTM_...
            message: its bytes without the netlink header.
            flags: beside REQUEST and ACK.
        """
        self._send(kind, message, REQUEST | ACK | flags)
        answer = None
        for number, data in self._answers():
            if number != _ERROR:
                answer = data
                continue
            (code,) = struct.unpack_from("=i", data, _HEADER.size)
            if code == 0:
                return answer
            raise RequestError(operation, -code, _words(data))
        raise AssertionError("an endless answer ended")

    def many(self, requests: Sequence[tuple[int, bytes, int]]) -> list[bytes | Refusal | None]:
        """Send many messages (kind, bytes, flags), in this order, with few system calls; one refused stops no other.

        Returns what became of each: the answer to a query, None for an act that was done, or why it was refused.
        """
        found: list[bytes | Refusal | None] = []
        for start in range(0, len(requests), _AT_ONCE):
            found += self._together(requests[start : start + _AT_ONCE])
        return found

    def _together(self, requests: Sequence[tuple[int, bytes, int]]) -> list[bytes | Refusal | None]:
        """Whatever is refused is told, so that the last message alone need ask for an acknowledgement."""
        first, last = self._sequence + 1, self._sequence + len(requests)
        self._sequence = last
        packet = []
        for number, (kind, message, flags) in enumerate(requests, first):
            asked = flags | (REQUEST | ACK if number == last else REQUEST)
            packet.append(_HEADER.pack(_HEADER.size + len(message), kind, asked, number, 0) + message)
        self._socket.send(b"".join(packet))
        found: list[bytes | Refusal | None] = [None] * len(requests)
        while True:
            for number, sequence, data in messages(self._socket.recv(_BUFFER)):
                if not first <= sequence <= last:
                    continue
                if number != _ERROR:
                    found[sequence - first] = data
                    continue
                (code,) = struct.unpack_from("=i", data, _HEADER.size)
                if code:
                    found[sequence - first] = Refusal(-code, _words(data))
                if sequence == last:
                    return found

    def dump(self, operation: str, kind: int, message: bytes) -> list[bytes]:
        """All messages of a table. Raises RequestError."""
        for _ in range(_PATIENCE):
            self._send(kind, message, REQUEST | DUMP)
            try:
                return self._whole_dump(operation)
            except InterruptedDumpError:
                continue
        raise RequestError(operation, EINTR, "it kept changing while it was read")

    def _whole_dump(self, operation: str) -> list[bytes]:
        found, interrupted = [], False
        for number, data in self._answers():
            interrupted |= bool(_HEADER.unpack_from(data)[2] & _DUMP_INTERRUPTED)
            if number in {_ERROR, _DONE}:
                (code,) = struct.unpack_from("=i", data, _HEADER.size)
                if code < 0:
                    raise RequestError(operation, -code)
                break
            found.append(data)
        if interrupted:
            raise InterruptedDumpError
        return found

    def _send(self, kind: int, message: bytes, flags: int) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(message), kind, flags, self._sequence, 0)
        self._socket.send(header + message)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """Messages that answer the last request; what is left of an earlier one is passed over."""
        while True:
            for number, sequence, data in messages(self._socket.recv(_BUFFER)):
                if sequence == self._sequence:
                    yield number, data


def messages(packet: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence number, message with its header) for each message of a packet."""
    offset = 0
    while offset + _HEADER.size <= len(packet):
        length, number, _, sequence, _ = _HEADER.unpack_from(packet, offset)
        yield number, sequence, packet[offset : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute as the kernel reads it, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind without its flag bits, value) for each attribute in a run of them."""
    offset, end, head = 0, len(data) - 4, _ATTRIBUTE.unpack_from
    while offset <= end:
        length, kind = head(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _words(data: bytes) -> str:
    """The kernel's extended message, which stands behind the header of the refused request."""
    if not _HEADER.unpack_from(data)[2] & _ACK_TLVS:
        return ""
    for kind, value in attributes(data[_HEADER.size + 4 + _HEADER.size :]):
        if kind == _MESSAGE:
            return value.rstrip(b"\0").decode(errors="replace").rstrip(".")
    return ""
