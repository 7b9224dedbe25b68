"""One packet a millisecond for each of several flows, counted at the receiver. A process of its own, so that nothing
that a test does delays it; `Traffic` is the test's end of it.

Kinds: `udp` and `tcp` are echoed by the server; `udp-push` and `tcp-push` are one question, then only the server sends;
`syn` are first packets of new connections, seen at the server by a raw socket. Numbers are in the packets.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any, Self

from vallum.kernel import netns
from vallum.lab import wire

EVERY = 0.001
MOST_BEHIND = 20
"""Packets sent at once after the machine had no time for us."""
QUIET = 0.3
_SEGMENTS = 136
"""Offset of tcpi_segs_out and tcpi_segs_in in struct tcp_info (linux/tcp.h)."""


@dataclass
class Flow:
    """Who sends to whom. Ends are (namespace, address)."""

    name: str
    kind: str
    client: tuple[str, str]
    server: tuple[str, str]
    port: int


@dataclass
class Count:
    """What happened to a flow. `late`: numbers from the mark on that arrived. `lost`: TCP segments that one end sent
    and the other never got; retransmissions would hide them, and a slow machine retransmits what is not lost.
    """

    sent: int = 0
    at_server: int = 0
    at_client: int = 0
    late: int = 0
    lost: int = 0
    refused: int = 0


class Traffic:
    """Traffic that runs from `with` until `stop`, beside everything else."""

    def __init__(self, flows: list[Flow]) -> None:
        words = [sys.executable, __file__, json.dumps([asdict(flow) for flow in flows])]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._said("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def mark(self) -> None:
        """What is sent from now on and still arrives is `late`."""
        assert self._process.stdin is not None
        self._process.stdin.write("mark\n")
        self._process.stdin.flush()
        self._said("marked")

    def stop(self) -> dict[str, Count]:
        """Send no more, wait for what is under way, and count."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        return {name: Count(**count) for name, count in json.loads(self._process.stdout.readline()).items()}

    def _said(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == word, f"traffic said {line!r} instead of {word!r}"


@dataclass
class _Running:
    flow: Flow
    count: Count = field(default_factory=Count)
    at_server: set[int] = field(default_factory=set)
    at_client: set[int] = field(default_factory=set)
    buffers: dict[int, bytes] = field(default_factory=dict)
    mark: int = 1 << 60

    def __post_init__(self) -> None:
        flow = self.flow
        self.version = ip_address(flow.server[1]).version
        self.family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        self.push = flow.kind.endswith("-push")
        self.stream = flow.kind.startswith("tcp")
        if flow.kind == "syn":
            self._open_syn()
        else:
            self._open()

    def _socket(self, where: str, kind: int, protocol: int = 0) -> socket.socket:
        with netns.entered(where):
            return socket.socket(self.family, kind | socket.SOCK_NONBLOCK, protocol)

    def _open(self) -> None:
        flow = self.flow
        kind = socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM
        server = self._socket(flow.server[0], kind)
        server.bind((flow.server[1], flow.port))
        self.client = self._socket(flow.client[0], kind)
        self.client.setblocking(True)
        self.client.settimeout(5)
        self.client.bind((flow.client[1], 0))
        self.server = server
        if not self.stream:
            self.peer = self.client.getsockname()[:2]
            self.client.connect((flow.server[1], flow.port))
        elif self.stream:
            server.listen()
            self.client.connect((flow.server[1], flow.port))
            self.server, _ = server.accept()
            server.close()
            for sock in (self.client, self.server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handshake = self._missing()
        if self.push and not self.stream:
            self.client.send(struct.pack("!Q", 0))
            select.select([server], [], [], 5)
            server.recv(64)
        for sock in (self.client, self.server):
            sock.setblocking(False)

    def _open_syn(self) -> None:
        flow = self.flow
        self.client = self._socket(flow.client[0], socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.client.bind((flow.client[1], 0))
        self.server = self._socket(flow.server[0], socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.server.bind((flow.server[1], 0))

    def tick(self) -> None:
        """Send the next number."""
        number = self.count.sent
        try:
            if self.flow.kind == "syn":
                source, target = ip_address(self.flow.client[1]), ip_address(self.flow.server[1])
                sport = 20000 + number % 40000
                self.client.sendto(wire.transport(source, target, 6, (sport, self.flow.port), b""), (str(target), 0))
            elif self.push and not self.stream:
                self.server.sendto(struct.pack("!Q", number), self.peer)
            else:
                (self.server if self.push else self.client).send(struct.pack("!Q", number))
        except (BlockingIOError, ConnectionError):
            self.count.refused += 1
            return
        self.count.sent += 1

    def read(self, sock: socket.socket) -> None:
        """Take everything that has come."""
        while True:
            try:
                data, peer = sock.recvfrom(65536)
            except (BlockingIOError, ConnectionError):
                return
            if not data:
                return
            self._take(sock, data, peer)

    def _take(self, sock: socket.socket, data: bytes, peer: Any) -> None:
        if self.flow.kind == "syn":
            self._take_syn(data, peer)
            return
        data = self.buffers.pop(sock.fileno(), b"") + data
        whole = len(data) - len(data) % 8
        self.buffers[sock.fileno()] = data[whole:]
        here = self.at_server if sock is self.server else self.at_client
        for (number,) in struct.iter_unpack("!Q", data[:whole]):
            here.add(number)
            self.count.late += number >= self.mark
        if sock is self.server and not self.push:
            try:
                sock.send(data[:whole]) if self.stream else sock.sendto(data[:whole], peer)
            except (BlockingIOError, ConnectionError):
                self.count.refused += 1

    def _take_syn(self, data: bytes, peer: Any) -> None:
        tcp = data[(data[0] & 15) * 4 :] if self.version == 4 else data
        sport, dport = struct.unpack_from("!HH", tcp)
        if dport == self.flow.port and peer[0] == self.flow.client[1]:
            self.at_server.add(sport)

    def _missing(self) -> int:
        """Segments sent by both ends less segments received by both."""
        counts = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256) for sock in (self.client, self.server)]
        pairs = [struct.unpack_from("=II", info, _SEGMENTS) for info in counts]
        return sum(sent - received for sent, received in pairs)

    def result(self) -> Count:
        """The counts, final."""
        self.count.at_server, self.count.at_client = len(self.at_server), len(self.at_client)
        if self.stream:
            self.count.lost = self._missing() - self.handshake
        return self.count


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(flows: list[Flow]) -> None:
    """The process: send each millisecond, read always, obey stdin."""
    running = [_Running(flow) for flow in flows]
    poll = select.epoll()
    readers = {}
    for one in running:
        for sock in (one.client, one.server):
            readers[sock.fileno()] = (one, sock)
            poll.register(sock.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    _say("ready")
    start, ticks, sending = time.monotonic(), 0, True
    last = start
    while sending or time.monotonic() - last < QUIET:
        now = time.monotonic()
        if sending:
            due = int((now - start) / EVERY)
            if due - ticks > MOST_BEHIND:
                start += (due - ticks - MOST_BEHIND) * EVERY
                due = ticks + MOST_BEHIND
            for _ in range(due - ticks):
                for one in running:
                    one.tick()
            ticks = due
        for descriptor, _ in poll.poll(EVERY / 2):
            if descriptor in readers:
                one, sock = readers[descriptor]
                one.read(sock)
                last = time.monotonic() if not sending else last
            elif sys.stdin.readline():
                for one in running:
                    one.mark = one.count.sent
                _say("marked")
            elif sending:
                poll.unregister(0)
                sending, last = False, time.monotonic()
    _say(json.dumps({one.flow.name: asdict(one.result()) for one in running}))


if __name__ == "__main__":
    main([Flow(**flow) for flow in json.loads(sys.argv[1])])
