"""Two nodes in two subnets behind a router, with a pod each, and what a test sends between them by sockets.

The router knows nothing of pods, so that only a tunnel leads to them; reverse path filters are strict everywhere, as
distributions set them; pods' links have the MTU of the nodes' links. It ignores who makes the tunnel.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TypeVar

import pytest

from inside import run_inside
from vallum.kernel import netns, sysctl
from vallum.kernel.ipip import BPF, driver
from vallum.lab.bench import links
from vallum.lab.bench.shapes import Ends, end
from vallum.model.objects import Node

Result = TypeVar("Result")

NUMBERS = (1, 2)
NODES = tuple(
    Node(f"node{one}", addresses=(ip_address(f"172.20.{one}.1"),), pod_ranges=(ip_network(f"10.44.{one}.0/24"),))
    for one in NUMBERS
)
POD = {one: f"10.44.{one}.10" for one in NUMBERS}
NODE = {one: f"172.20.{one}.1" for one in NUMBERS}
SOURCE = {one: ip_address(f"10.44.{one}.1") for one in NUMBERS}
"""What a node itself sends into the tunnel comes from it."""
UPLINK = links.UPLINK
_SEAT, _MTU = "x", 1500
_PORT, _PATIENCE = 7007, 5.0
_MTU_DISCOVER, _DO, _DONT = 10, 2, 0
_UDP_SEGMENT = 103
_ECHO, _ECHO_ANSWER, _UNREACHABLE, _TOO_LARGE = 8, 0, 3, 4


@cache
def _driver() -> tuple[str, str]:
    return run_inside(driver)


def need_programs() -> None:
    """Skip the test, saying why, where this kernel does not carry ipip by programs, or this user may not."""
    name, reason = _driver()
    if name != BPF:
        pytest.skip(reason or "this kernel has an ipip device of its own")


def at_two_nodes(piece: Callable[[], Result]) -> Result:
    """What `piece` returns, run where both nodes stand; it must be plain data."""

    def body() -> Result:
        ends = Ends(end("pod1", "node1", POD[1]), end("pod2", "node2", POD[2]), NODES)
        links.build(_SEAT, ends, known=False)
        for name in (*(node.name for node in NODES), "router"):
            with netns.entered(place(name)):
                for whose in ("all", "default"):
                    sysctl.write(f"net/ipv4/conf/{whose}/rp_filter", 1)
        return piece()

    return run_inside(body)


def place(name: str) -> str:
    """The namespace of node1, node2, pod1, pod2 or router."""
    return links.place(_SEAT, name)


def opened(where: str, kind: int, protocol: int = 0, *, within: float = _PATIENCE) -> socket.socket:
    """An IPv4 socket that lives in that namespace."""
    with netns.entered(place(where)):
        sock = socket.socket(socket.AF_INET, kind, protocol)
    sock.settimeout(within)
    return sock


def ping(where: str, to: str, size: int = 56, *, whole: bool = False, within: float = _PATIENCE) -> str:
    """`answer`, `silence`, or of a router `too large, N`. `whole`: it may not be cut (DF), whatever route says so."""
    with opened(where, socket.SOCK_RAW, socket.IPPROTO_ICMP, within=within) as sock:
        sock.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, 3 if whole else _DONT)
        body = struct.pack("!BBHHH", _ECHO, 0, 0, 7, 1) + bytes(size)
        sock.sendto(body[:2] + struct.pack("!H", _checksum(body)) + body[4:], (to, 0))
        with suppress(TimeoutError):
            while True:
                packet = sock.recv(65535)
                kind, code, _, high, low = struct.unpack_from("!BBHHH", packet, 20)
                if (kind, high) == (_ECHO_ANSWER, 7):
                    return "answer"
                if (kind, code) == (_UNREACHABLE, _TOO_LARGE):
                    return f"too large, {low}"
    return "silence"


def transfer(sender: str, receiver: str, to: str, size: int) -> int:
    """Bytes of one TCP stream that arrived, of `size` that were sent."""
    arrived = 0
    with opened(receiver, socket.SOCK_STREAM) as server, opened(sender, socket.SOCK_STREAM) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((to, _PORT))
        server.listen()
        client.connect((to, _PORT))
        taken, _ = server.accept()
        taken.settimeout(_PATIENCE)
        thread = threading.Thread(target=_send, args=(client, size))
        thread.start()
        with taken, suppress(TimeoutError):
            while data := taken.recv(1 << 18):
                arrived += len(data)
        thread.join()
    return arrived


def datagrams(sender: str, receiver: str, to: str, size: int, *, segment: int = 0, whole: bool = False) -> list[int]:
    """Sizes of the datagrams that arrived. `segment`: the kernel cuts what is sent in one call into such (UDP GSO)."""
    found: list[int] = []
    with opened(receiver, socket.SOCK_DGRAM) as server, opened(sender, socket.SOCK_DGRAM) as client:
        server.bind((to, _PORT))
        client.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DO if whole else _DONT)
        if segment:
            client.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, segment)
        client.sendto(bytes(size), (to, _PORT))
        with suppress(TimeoutError):
            while sum(found) < size:
                found.append(len(server.recv(65535)))
    return found


def wrapped(inner_source: str, inner_destination: str, outer_destination: str, outer_source: str) -> None:
    """Send from the router a packet inside a packet, as anybody could: a UDP datagram to the port of `heard`."""
    with opened("router", socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        datagram = struct.pack("!HHHH", _PORT, _PORT, 8 + 4, 0) + b"spam"
        inner = _ip(inner_source, inner_destination, socket.IPPROTO_UDP, datagram)
        sock.sendto(_ip(outer_source, outer_destination, socket.IPPROTO_IPIP, inner), (outer_destination, 0))


def heard(receiver: str, at: str, send: Callable[[], None]) -> tuple[bytes, str]:
    """The datagram that arrives of what is sent meanwhile, and who it says it is from. Raises TimeoutError."""
    with opened(receiver, socket.SOCK_DGRAM) as server:
        server.bind((at, _PORT))
        send()
        data, (source, _) = server.recvfrom(65535)
        return data, str(source)


def _send(client: socket.socket, size: int) -> None:
    with suppress(OSError):
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)


def _ip(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    head += IPv4Address(source).packed + IPv4Address(destination).packed
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
