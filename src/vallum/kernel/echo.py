"""Echo requests that nobody may cut into pieces: which sizes of packets get there and back.

All targets are asked at once, through one socket a family, in the network namespace of the calling thread. The path MTU
that the kernel remembers is passed over (IP_PMTUDISC_PROBE). What it ignores: who is on the way, and what they said.
"""

import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EACCES, EPERM
from select import select

from vallum.model.address import Address
from vallum.model.errors import KernelError

_HEADERS = {4: 28, 6: 48}
"""Bytes of the IP and ICMP headers."""
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_MTU_DISCOVER, _PROBE, _DONTFRAG6 = {4: 10, 6: 23}, 3, 62
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_MARK = struct.Struct("!8sI")
"""Which run, and which of its targets."""
_BUFFER = 1 << 22
_BURST = 64
_FIRST, _LAST, _STEP = 0.5, 1.0, 0.25
"""Seconds to wait for answers: to the first try, to the last before somebody counts as silent, and of a search."""
SMALL = 128
"""Bytes that pass wherever anything does."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address and the length of the whole IP packet, in bytes."""

    address: Address
    size: int


class NoEchoError(KernelError):
    """No socket for it can be had."""


def largest(targets: Sequence[Target]) -> tuple[int | None, ...]:
    """For each target the length of the largest packet, up to its own, that is answered; None: none is.

    Takes half a second where all is well, five at most. Raises NoEchoError where it is not permitted.
    """
    best: dict[int, int] = {}
    waiting = list(range(len(targets)))
    for size, seconds in ((None, _FIRST), (None, _STEP), (SMALL, _STEP), (SMALL, _LAST)):
        tried = [Target(targets[at].address, size or targets[at].size) for at in waiting]
        found = answered(tried, seconds)
        best |= {waiting[index]: tried[index].size for index in found}
        waiting = [at for at in waiting if at not in best]
    bounds = {at: (most, targets[at].size) for at, most in best.items() if most < targets[at].size}
    best |= _searched(targets, bounds)
    return tuple(best.get(at) for at in range(len(targets)))


def _searched(targets: Sequence[Target], bounds: dict[int, tuple[int, int]]) -> dict[int, int]:
    """By halves, all at once. `bounds`: a size that passed and one that did not."""
    while open_ := [at for at, (low, high) in bounds.items() if high - low > 1]:
        tried = [Target(targets[at].address, sum(bounds[at]) // 2) for at in open_]
        found = answered(tried, _STEP)
        for index, at in enumerate(open_):
            low, high = bounds[at]
            bounds[at] = (tried[index].size, high) if index in found else (low, tried[index].size)
    return {at: low for at, (low, _) in bounds.items()}


def answered(targets: Sequence[Target], seconds: float) -> frozenset[int]:
    """The indexes of the targets that answer in time. Raises NoEchoError where it is not permitted."""
    run, found = os.urandom(8), set[int]()
    families: set[int] = {target.address.version for target in targets}
    deadline = time.monotonic() + seconds
    with ExitStack() as opened:
        sockets = dict[int, socket.socket]()
        for version in families:
            sockets[version] = opened.enter_context(_open(version))
        expected = 0
        for index, target in enumerate(targets):
            expected += _send(sockets[target.address.version], target, _MARK.pack(run, index))
            if index % _BURST == _BURST - 1:
                found |= _read(sockets, run, 0.0)
        while len(found) < expected and (left := deadline - time.monotonic()) > 0:
            found |= _read(sockets, run, left)
    return frozenset(found)


def is_refused(address: Address, port: int, seconds: float = _STEP) -> bool:
    """Reports whether the host behind an address says that nobody listens on this UDP port."""
    with socket.socket(_FAMILY[address.version], socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect((str(address), port))
            sock.send(b"\0")
            sock.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _open(version: int) -> socket.socket:
    """Raw, or where that is not permitted one of those for `ping` (net.ipv4.ping_group_range)."""
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        try:
            sock = socket.socket(_FAMILY[version], kind, _PROTOCOL[version])
        except OSError as error:
            if error.errno not in {EPERM, EACCES}:
                raise NoEchoError(f"ICMP socket: {error.strerror}") from error
            continue
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        sock.setsockopt(_LEVEL[version], _MTU_DISCOVER[version], _PROBE)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, _DONTFRAG6, 1)
        return sock
    raise NoEchoError("no ICMP socket: it takes CAP_NET_RAW, or a group within net.ipv4.ping_group_range")


def _send(sock: socket.socket, target: Target, mark: bytes) -> bool:
    """Reports whether it left: a packet larger than the link, or to nowhere, does not."""
    version = target.address.version
    data = mark.ljust(target.size - _HEADERS[version], b"\0")
    number = os.getpid() & 0xFFFF
    head = struct.pack("!BBHHH", _REQUEST[version], 0, 0, number, 1)
    if version == 4:
        head = head[:2] + struct.pack("!H", _checksum(head + data)) + head[4:]
    try:
        sock.sendto(head + data, (str(target.address), 0))
    except OSError:
        return False
    return True


def _read(sockets: dict[int, socket.socket], run: bytes, seconds: float) -> set[int]:
    """The targets of this run whose answers are there, after waiting for the first."""
    found = set()
    versions = {sock: version for version, sock in sockets.items()}
    for sock in select(list(versions), [], [], seconds)[0]:
        found |= set(_indexes(_datagrams(sock), versions[sock], run))
    return found


def _datagrams(sock: socket.socket) -> Iterable[bytes]:
    raw = sock.type == socket.SOCK_RAW and sock.family == socket.AF_INET
    while True:
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # what a router said about an earlier packet
            continue
        yield data[(data[0] & 0xF) * 4 :] if raw else data


def _indexes(packets: Iterable[bytes], version: int, run: bytes) -> Iterable[int]:
    for packet in packets:
        if len(packet) >= 8 + _MARK.size and packet[0] == _REPLY[version]:
            which, index = _MARK.unpack_from(packet, 8)
            if which == run:
                yield index


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
