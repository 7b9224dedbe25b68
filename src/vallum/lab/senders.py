"""One probe sent for real from one namespace: by sockets where the kernel has them, by hand where it has none.

`send` ends when the answer of the server is there, so the caller decides how long to wait and what else to listen to.
The flow that it used is known before the first packet leaves, so that a denial's record can be matched to it.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Self

from vallum.kernel import netns
from vallum.lab import wire
from vallum.lab.servers import raw_socket, transport_of
from vallum.model.address import Address, Packed, pack, unpack
from vallum.model.objects import ICMP, ICMPV6, SCTP, TCP, UDP


@dataclass(frozen=True, slots=True)
class Flow:
    """The packet's header as a record of its denial would show it."""

    source: Packed
    target: Packed
    protocol: int
    sport: int
    dport: int
    icmp_id: int | None = None

    def mirrored(self) -> "Flow":
        """The header of its answers."""
        return Flow(self.target, self.source, self.protocol, self.dport, self.sport, self.icmp_id)


AGAIN = 1.0
"""Seconds after which an unanswered packet is sent once more; TCP does so itself."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What to send: from a namespace, between two addresses.

    `written`: another source than the end's own. `about`: the packet that an ICMP error quotes.
    """

    namespace: str
    source: Address
    target: Address
    target_namespace: str
    protocol: int
    port: int = 0
    icmp_type: int | None = None
    icmp_code: int = 0
    written: Address | None = None
    about: Flow | None = None


class Sending:
    """One shot under way: its sockets, its flow, and `answered`, to be awaited. Close it in any case."""

    def __init__(self, shot: Shot, number: int) -> None:
        self._shot = shot
        self._mark = f"vallum-{number}-{os.getpid()}".encode()
        self._number = number & 0xFFFF
        self._sockets: list[socket.socket] = []
        self._begin: Callable[[], Awaitable[None]] = self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    async def answered(self) -> None:
        """Send, and return once the server's answer to this very packet has come. Raises OSError on refusal."""
        await self._begin()

    def _prepare(self) -> Callable[[], Awaitable[None]]:
        shot = self._shot
        echo = shot.protocol in (ICMP, ICMPV6) and shot.icmp_type in (None, 8 if shot.source.version == 4 else 128)
        if shot.written is None and shot.protocol in (TCP, UDP):
            return self._prepare_socket()
        if shot.written is None and shot.protocol == SCTP:
            return self._prepare_sctp()
        if shot.written is None and echo:
            return self._prepare_echo()
        return self._prepare_crafted()

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _flow(self, sport: int, dport: int, icmp_id: int | None = None) -> Flow:
        source = self._shot.written or self._shot.source
        return Flow(pack(source), pack(self._shot.target), self._shot.protocol, sport, dport, icmp_id)

    def _prepare_socket(self) -> Callable[[], Awaitable[None]]:
        shot = self._shot
        kind = socket.SOCK_STREAM if shot.protocol == TCP else socket.SOCK_DGRAM
        family = socket.AF_INET if shot.source.version == 4 else socket.AF_INET6
        with netns.entered(shot.namespace):
            sock = self._keep(socket.socket(family, kind | socket.SOCK_NONBLOCK))
        sock.bind((str(shot.source), 0))
        self.flow = self._flow(sock.getsockname()[1], shot.port)
        return self._by_socket

    async def _by_socket(self) -> None:
        loop, sock = asyncio.get_running_loop(), self._sockets[0]
        await loop.sock_connect(sock, (str(self._shot.target), self._shot.port))
        expected = self._mark + b" " + str(self._shot.source).encode() + b"\n"
        answer = b""
        with _sent(lambda: sock.send(self._mark + b"\n"), again=self._shot.protocol != TCP):
            while not answer.endswith(b"\n"):
                part = await loop.sock_recv(sock, 4096)
                if not part:
                    raise ConnectionResetError("the server closed without an answer")
                answer += part
        if answer != expected:
            raise ConnectionError(f"the server saw {answer!r} instead of {expected!r}")

    def _prepare_sctp(self) -> Callable[[], Awaitable[None]]:
        shot = self._shot
        self._keep(raw_socket(shot.namespace, shot.source.version, SCTP)).bind((str(shot.source), 0))
        self.flow = self._flow(20000 + self._number % 40000, shot.port)
        return self._by_sctp

    async def _by_sctp(self) -> None:
        sock, shot = self._sockets[0], self._shot
        tag = int.from_bytes(os.urandom(4), "big") | 1
        packet = wire.sctp_init(self.flow.sport, shot.port, tag)
        with _sent(lambda: sock.sendto(packet, (str(shot.target), 0))):
            while True:
                data, peer = await _receive_from(sock)
                found = wire.parse_sctp(transport_of(shot.source.version, data))
                expected = found and found.chunk == wire.INIT_ACK and found.verification_tag == tag
                if peer == str(shot.target) and expected:
                    return

    def _prepare_echo(self) -> Callable[[], Awaitable[None]]:
        shot = self._shot
        protocol = wire.icmp_number(shot.source)
        self._keep(raw_socket(shot.namespace, shot.source.version, protocol)).bind((str(shot.source), 0))
        self.flow = self._flow(0, 0, self._number)
        return self._by_echo

    async def _by_echo(self) -> None:
        sock, shot = self._sockets[0], self._shot
        packet = wire.echo(shot.source, shot.target, self._number, self._mark)
        reply = 0 if shot.source.version == 4 else 129
        with _sent(lambda: sock.sendto(packet, (str(shot.target), 0))):
            while True:
                data, peer = await _receive_from(sock)
                data = transport_of(shot.source.version, data)
                if peer == str(shot.target) and data[:1] == bytes([reply]) and data[8:] == self._mark:
                    return

    def _prepare_crafted(self) -> Callable[[], Awaitable[None]]:
        """One packet one way; that it arrived is seen by a raw socket at the other end."""
        shot = self._shot
        version = shot.source.version
        self._keep(raw_socket(shot.namespace, version, socket.IPPROTO_RAW, header=True))
        self._keep(raw_socket(shot.target_namespace, version, shot.protocol))
        ported = shot.protocol in (TCP, UDP, SCTP)
        self.flow = self._flow(20000 + self._number % 40000 if ported else 0, shot.port if ported else 0)
        return self._by_hand

    async def _by_hand(self) -> None:
        shot, (out, sight) = self._shot, self._sockets
        source = shot.written or shot.source
        if shot.protocol in (ICMP, ICMPV6):
            rest = b"\0\0\0\0" + (_quoted(shot.about) if shot.about else self._mark)
            body = wire.icmp(source, shot.target, shot.icmp_type or 0, shot.icmp_code, rest)
        else:
            ends = self.flow.sport, self.flow.dport
            body = wire.transport(source, shot.target, shot.protocol, ends, self._mark)
        packet = wire.ip_packet(source, shot.target, shot.protocol, body)
        with _sent(lambda: out.sendto(packet, (str(shot.target), 0))):
            while True:
                data, peer = await _receive_from(sight)
                if peer == str(source) and transport_of(shot.source.version, data) == body:
                    return


@contextlib.contextmanager
def _sent(send: Callable[[], object], *, again: bool = True) -> Iterator[None]:
    """Send now and, where nothing else repeats it, each second until the block ends.

    An address that the router has just got may still drop what comes for it. Raises OSError of the first time only.
    """
    loop = asyncio.get_running_loop()
    timer: list[asyncio.TimerHandle] = []

    def repeat() -> None:
        with contextlib.suppress(OSError):
            send()
        timer[:] = [loop.call_later(AGAIN, repeat)]

    send()
    if again:
        timer.append(loop.call_later(AGAIN, repeat))
    try:
        yield
    finally:
        for handle in timer:
            handle.cancel()


def _quoted(flow: Flow) -> bytes:
    """The IP header and first bytes of a packet of this flow, as an ICMP error carries them (RFC 792, RFC 4443)."""
    source, target = unpack(flow.source), unpack(flow.target)
    if flow.icmp_id is not None:
        body = wire.echo(source, target, flow.icmp_id, b"")
    else:
        body = wire.transport(source, target, flow.protocol, (flow.sport, flow.dport), b"quoted")
    return wire.ip_packet(source, target, flow.protocol, body)


async def _receive_from(sock: socket.socket) -> tuple[bytes, str]:
    data, peer = await asyncio.get_running_loop().sock_recvfrom(sock, 4096)
    return data, str(peer[0])
