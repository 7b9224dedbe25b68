"""A change seen from the packets: one SYN a millisecond between two pods, while a world is replaced.

Each packet has a source port of its own, so which of them arrived is known one by one at the receiving pod.
"""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass

from vallum.kernel import netns
from vallum.lab import wire
from vallum.lab.lab import Lab
from vallum.lab.servers import raw_socket, transport_of
from vallum.model.address import unpack
from vallum.model.objects import TCP, Object

_STEP = 0.001
_FIRST = 20000
_AFTER = 0.3
"""Seconds of sending after the agents say that they enforce the change."""
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """What the packets did around a change.

    `obeyed`: milliseconds from the instant at which the new world became visible to the first packet that was treated
    by it, after which none was treated otherwise. `sent` and `arrived` count packets.
    """

    obeyed: float
    sent: int
    arrived: int


class Stream:
    """SYNs from one pod to a port of another."""

    def __init__(self, lab: Lab, source: str, target: str, port: int) -> None:
        ends = lab.verdicts.ends
        self._lab = lab
        self._from, self._to = (unpack(ends.end(name).addresses[0]) for name in (source, target))
        self._port = port
        spaces = {str(plan.pod): plan.netns for plan in lab.topology.placed}
        with netns.entered(spaces[source]):
            self._out = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
        self._in = raw_socket(spaces[target], self._from.version, TCP)
        self._sent: dict[int, float] = {}
        self._arrived: set[int] = set()

    async def across(self, objects: tuple[Object, ...], *, opens: bool) -> Change:
        """Replace the world by `objects`, which opens or closes this path, and tell when packets obeyed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._in, self._receive)
        sender = loop.create_task(self._send())
        try:
            await asyncio.sleep(0.05)
            await self._lab.apply(objects)
            await asyncio.sleep(_AFTER)
        finally:
            sender.cancel()
            await asyncio.sleep(0.02)  # what is on its way still arrives
            loop.remove_reader(self._in)
        return Change(self._obeyed(opens), len(self._sent), len(self._arrived))

    def close(self) -> None:
        """Close the sockets."""
        self._out.close()
        self._in.close()

    async def _send(self) -> None:
        due = time.monotonic()
        for number in range(_MOST):
            body = wire.transport(self._from, self._to, TCP, (_FIRST + number, self._port), b"")
            self._sent[_FIRST + number] = time.monotonic()
            self._out.sendto(wire.ip_packet(self._from, self._to, TCP, body), (str(self._to), 0))
            due += _STEP
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while True:
            try:
                data, peer = self._in.recvfrom(256)
            except BlockingIOError:
                return
            sport, dport = struct.unpack_from("!HH", transport_of(self._from.version, data))
            if peer[0] == str(self._from) and dport == self._port:
                self._arrived.add(sport)

    def _obeyed(self, opens: bool) -> float:
        """The first packet after the last one that was still treated by the old world."""
        old = [sport for sport in self._sent if (sport in self._arrived) != opens]
        new = [sent for sport, sent in self._sent.items() if not old or sport > max(old)]
        return (min(new) - self._lab.world.switched) * 1000 if new else float("inf")
