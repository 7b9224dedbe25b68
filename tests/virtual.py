"""An event loop whose clock stands still while there is work and jumps ahead when there is none.

Minutes of back-off and silence pass in milliseconds, through real sockets of this process. What it ignores: threads,
and sockets of other processes: the clock would jump while these still work.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_SETTLE = 0.003
"""Seconds after which bytes written to a socket of this machine are surely there."""


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Moves the loop's clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        found = super().select(_SETTLE)
        if found:
            return found
        assert timeout is not None, "everybody waits for somebody, and nothing will ever come"
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self.virtual = _Selector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
