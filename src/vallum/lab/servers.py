"""Real servers in the pods: TCP and UDP sockets and an SCTP responder, living in each pod's network namespace.

A socket stays in the namespace in which it was made, so one process serves every pod. A server answers with what it
got and from whom, so that a client knows that its own packet arrived, with its own address.
"""

import asyncio
import contextlib
import socket
from ipaddress import ip_address

from vallum.kernel import netns
from vallum.lab import wire
from vallum.model.errors import InputError
from vallum.model.objects import PROTOCOL_NAMES, SCTP, TCP, UDP

_BACKLOG = 256
_IP_PKTINFO = 8  # linux/in.h; Python's socket module has only the IPv6 one


class Servers:
    """All servers of a lab, by namespace. Everything is opened on demand and closed with `close`."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], socket.socket] = {}
        self._sctp: dict[tuple[str, int], set[int]] = {}
        self._raw: dict[tuple[str, int], socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ensure(self, namespace: str, protocol: int, port: int) -> None:
        """Serve this port there from now on."""
        if protocol == SCTP:
            for version in (4, 6):
                self._sctp.setdefault((namespace, version), set()).add(port)
                self._responder(namespace, version)
        elif protocol in (TCP, UDP) and (namespace, protocol, port) not in self._open:
            self._open[namespace, protocol, port] = self._listen(namespace, protocol, port)

    def forget(self, namespace: str) -> None:
        """Close what is served in a namespace that goes away."""
        for key in [key for key in self._open if key[0] == namespace]:
            self._shut(self._open.pop(key))
        for raw in [key for key in self._raw if key[0] == namespace]:
            self._shut(self._raw.pop(raw))
            self._sctp.pop(raw, None)

    def close(self) -> None:
        """Close everything."""
        for sock in (*self._open.values(), *self._raw.values()):
            self._shut(sock)
        for task in self._tasks:
            task.cancel()
        self._open.clear()
        self._raw.clear()

    def _shut(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    def _listen(self, namespace: str, protocol: int, port: int) -> socket.socket:
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        with netns.entered(namespace):
            sock = socket.socket(socket.AF_INET6, kind | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        try:
            sock.bind(("::", port))
        except OSError as error:
            sock.close()
            place = f"{namespace.removeprefix('vallum-').replace('.', '/', 1)} port {port}/{PROTOCOL_NAMES[protocol]}"
            raise InputError(place, f"{error.strerror}: end the program that listens there") from error
        loop = asyncio.get_running_loop()
        if protocol == TCP:
            sock.listen(_BACKLOG)
            loop.add_reader(sock, self._accept, sock)
        else:
            loop.add_reader(sock, _answer_datagram, sock)
        return sock

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, peer = listener.accept()
            client.setblocking(False)
            task = asyncio.get_running_loop().create_task(_answer_stream(client, plain(peer[0])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _responder(self, namespace: str, version: int) -> None:
        if (namespace, version) in self._raw:
            return
        sock = raw_socket(namespace, version, SCTP)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._raw[namespace, version] = sock
        ports = self._sctp[namespace, version]
        asyncio.get_running_loop().add_reader(sock, _answer_sctp, sock, version, ports)


def raw_socket(namespace: str, version: int, protocol: int, *, header: bool = False) -> socket.socket:
    """A raw socket in a namespace. With `header` what is sent starts at the IP header, whatever its source says."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with netns.entered(namespace):
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    if header:
        level, option = (socket.IPPROTO_IP, socket.IP_HDRINCL) if version == 4 else (socket.IPPROTO_IPV6, 36)
        sock.setsockopt(level, option, 1)
    return sock


def transport_of(version: int, data: bytes) -> bytes:
    """What a raw socket received, less the IPv4 header that the kernel leaves on it."""
    return data[(data[0] & 15) * 4 :] if version == 4 and data else data


def plain(text: str) -> str:
    """An address as written, IPv4 without the mapping that a dual-stack socket shows (RFC 4291, 2.5.5.2)."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


async def _answer_stream(client: socket.socket, peer: str) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError), client:
        while data := await loop.sock_recv(client, 4096):
            await loop.sock_sendall(client, data.rstrip(b"\n") + b" " + peer.encode() + b"\n")


def _answer_datagram(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        data, asked, _, peer = sock.recvmsg(2048, 256)
        answer = data.rstrip(b"\n") + b" " + plain(peer[0]).encode() + b"\n"
        sock.sendmsg([answer], _from_there(asked), 0, peer)


def _answer_sctp(sock: socket.socket, version: int, ports: set[int]) -> None:
    with contextlib.suppress(OSError):
        data, ancillary, _, peer = sock.recvmsg(2048, 256)
        asked = wire.parse_sctp(transport_of(version, data))
        if asked and asked.chunk == wire.INIT and asked.dport in ports:
            answer = wire.sctp_init_ack(asked, tag=asked.initiate_tag ^ 0xFFFFFFFF)
            sock.sendmsg([answer], _from_there(ancillary), 0, (peer[0], 0))


def _from_there(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Answer from the address that was asked: a host with several would choose another (RFC 1122, 4.1.3.5)."""
    found = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            found.append((level, kind, data[:16] + b"\0\0\0\0"))
        elif (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            found.append((level, kind, b"\0\0\0\0" + data[8:12] + b"\0\0\0\0"))
    return found
