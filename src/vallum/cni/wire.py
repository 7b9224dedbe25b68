"""What shim and agent say to each other over the unix socket: one message each way. The shim's side is shim/shim.c.

    call:   length (4 bytes, big endian), NAME=VALUE and a NUL for each variable, a NUL, the configuration from stdin;
            with it, by SCM_RIGHTS, descriptors of the pod's network namespace and of a netlink socket made inside it
    answer: length of the text (4 bytes), the exit status (1 byte), the text for stdout

A file in the queue of DELs holds a call as it would have been sent. Nothing here waits or reads a socket.
"""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

_LENGTH = struct.Struct(">I")
LONGEST = 5 << 20
"""More than the shim ever sends."""

REFUSED = "VALLUM_ERRNO"
"""The variable with which the shim tells that it could not enter the namespace: the errno."""


class BrokenCallError(Exception):
    """It was not the shim who wrote this."""


@dataclass(slots=True)
class Call:
    """What a runtime asked. The descriptors are ours until `close`; both are -1 where no namespace was entered."""

    environment: Mapping[str, str]
    stdin: bytes
    namespace: int = -1
    netlink: int = -1
    _open: list[int] = field(default_factory=list)

    def hold(self, descriptors: list[int]) -> None:
        """Take the descriptors that came with it. Raises BrokenCallError when they are not what the shim sends."""
        self._open += descriptors
        if not descriptors:
            return
        if len(descriptors) != 2 or _family(descriptors[1]) != socket.AF_NETLINK:
            raise BrokenCallError("the descriptors are not a namespace and a netlink socket")
        self.namespace, self.netlink = descriptors

    def close(self) -> None:
        """Close what came with it. Repeatable."""
        while self._open:
            os.close(self._open.pop())


@dataclass(frozen=True, slots=True)
class Answer:
    """The exit status of the plugin and what it prints. `again`: the kernel refused, and later it may not."""

    status: int
    text: bytes
    again: bool = False

    def encode(self) -> bytes:
        """As it is sent."""
        return _LENGTH.pack(len(self.text)) + bytes((self.status,)) + self.text


def size_of(head: bytes) -> int:
    """How long the whole call is, from its first four bytes. Raises BrokenCallError."""
    (size,) = _LENGTH.unpack_from(head)
    if size > LONGEST:
        raise BrokenCallError(f"a call of {size} bytes")
    return int(size) + _LENGTH.size


def decode(data: bytes) -> Call:
    """A whole call. Raises BrokenCallError."""
    if len(data) < _LENGTH.size or size_of(data) != len(data):
        raise BrokenCallError(f"a call cut off after {len(data)} bytes")
    head, end, stdin = data[_LENGTH.size :].partition(b"\0\0")
    if not end:
        raise BrokenCallError("variables that do not end")
    pairs = (line.decode(errors="surrogateescape").partition("=") for line in head.split(b"\0"))
    return Call({name: value for name, _, value in pairs}, stdin)


def _family(descriptor: int) -> int:
    copy = os.dup(descriptor)
    try:
        handed = socket.socket(fileno=copy)
    except OSError as error:
        os.close(copy)
        raise BrokenCallError("a descriptor is no socket") from error
    with handed:
        return handed.family
