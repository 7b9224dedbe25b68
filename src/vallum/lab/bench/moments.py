"""What an agent says of its reconciles, followed over its socket: when it heard of a change, had compiled, had applied.

Seconds of time.monotonic, which all processes of a machine share. A thread, because whoever measures is busy.
"""

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import msgspec

from vallum.model.errors import KernelError

_STATUS = b'{"event":"status"'
"""How a line begins that is not about a denial; of those there are thousands, and none is decoded."""


@dataclass(frozen=True, slots=True)
class Moments:
    """One reconcile: `heard` is when the first event that it answers was decoded."""

    heard: float
    begun: float
    compiled: float
    applied: float


def read(status: dict[str, Any]) -> Moments | None:
    """The moments of the last reconcile; None before the first."""
    told = status.get("moments")
    return None if told is None else msgspec.convert(told, Moments)


class Watcher:
    """Follows one agent until closed. Raises KernelError where nobody listens."""

    def __init__(self, path: Path) -> None:
        self._told: list[Moments] = []
        self._changed = Condition()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            raise KernelError(f"the agent's socket {path}: {error.strerror}") from error
        self._socket.sendall(b'{"op": "follow"}\n')
        self._last = time.monotonic()
        Thread(target=self._follow, daemon=True).start()

    def close(self) -> None:
        """Follow no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def last(self) -> float:
        """When the agent last ended a reconcile."""
        with self._changed:
            return self._last

    def nearest(self, moment: float, since: float, within: float) -> Moments | None:
        """The reconcile that ended nearest to a moment, of those that heard something since. Waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: any(each.heard >= since for each in self._told), within)
            later = [each for each in self._told if each.heard >= since]
            self._told.clear()
        return min(later, key=lambda each: abs(each.applied - moment), default=None)

    def _follow(self) -> None:
        with self._socket.makefile("rb") as lines:
            for line in lines:
                found = read(msgspec.json.decode(line)) if line.startswith(_STATUS) else None
                if found is not None:
                    with self._changed:
                        self._told.append(found)
                        self._last = time.monotonic()
                        self._changed.notify_all()
