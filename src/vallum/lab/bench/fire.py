"""One denied datagram a millisecond, all of one flow, and which of them arrive: what an attacker would try.

One flow on purpose: a datagram that slips through while a rule is missing makes a connection that is known and
remembered as allowed, so a repair that forgets to judge it again is found here. A thread, because the other side of
the measurement blocks in nft. What it ignores: order; a datagram that comes late counts by when it was sent.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from vallum.kernel import netns
from vallum.model.address import Address

PORT = 9
"""Discard: no policy of any world speaks of it."""
INTERVAL = 0.001
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Fire:
    """Sockets in two pods. `sent` and `arrived`: when each datagram was sent (`time.monotonic`).

    Args:
        shooter: network namespace of the sender, by name or by descriptor.
        victim: that of the receiver.
        address: the receiver's.
        interval: seconds between two datagrams.
    """

    def __init__(self, shooter: str | int, victim: str | int, address: Address, interval: float = INTERVAL) -> None:
        self.sent: list[float] = []
        self.arrived: list[float] = []
        self._interval = interval
        self._receiver = _socket(victim, address)
        self._receiver.bind((str(address), PORT))
        self._sender = _socket(shooter, address)
        self._sender.connect((str(address), PORT))

    def close(self) -> None:
        """Close both sockets."""
        self._sender.close()
        self._receiver.close()

    @contextmanager
    def burning(self) -> Iterator[None]:
        """Datagrams leave until the block ends; those of earlier blocks are forgotten."""
        self.sent, self.arrived = [], []
        ended = Event()
        thread = Thread(target=self._shoot, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def refused(self, since: float) -> int:
        """How many were sent after `since` or after the last that arrived, and did not arrive."""
        last = max(self.arrived, default=since)
        return sum(when > max(last, since) for when in tuple(self.sent))

    def _shoot(self, ended: Event) -> None:
        while not ended.wait(self._interval):
            now = time.monotonic()
            self._sender.send(repr(now).encode())
            self.sent.append(now)
            self._collect()
        self._collect()

    def _collect(self) -> None:
        while True:
            try:
                self.arrived.append(float(self._receiver.recv(64)))
            except BlockingIOError:
                return


def _socket(place: str | int, address: Address) -> socket.socket:
    with netns.entered(place):
        made = socket.socket(_FAMILIES[address.version], socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
