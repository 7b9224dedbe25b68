"""What a measurement needs of its surroundings, as two small faces, so that it can be tried without a kernel.

A seat is a client pod and a server pod with everything between them; all seats of a measurement are alive at the
same time, because partners that are measured minutes apart cannot be compared on a shared machine.
"""

from dataclasses import dataclass
from typing import Protocol

from vallum.lab.bench.shapes import Ends
from vallum.model.snapshot import Snapshot

OK = "ok"
"""The reason of a request that did not fail."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, microseconds from its start; 0 where a stage was not reached. `reason`: why it failed."""

    connected: float
    first: float
    complete: float
    reason: str = OK


class Seat(Protocol):
    """One pair of pods."""

    ends: Ends

    def hold(self, plane: str, snapshot: Snapshot) -> int:
        """Make the plane enforce this world on the nodes of the pair. Returns the elements read back."""
        ...

    def attempt(self, timeout: float) -> str:
        """One request within `timeout` seconds: `OK`, or why the client did not get through."""
        ...

    def run(self, requests: int, size: int) -> list[Sample]:
        """Requests one after the other, each on a new connection, of `size` bytes."""
        ...


class Arena(Protocol):
    """Seats by path, family (4 or 6) and number. The same number gives the same seat again."""

    def seat(self, path: str, family: int, number: int) -> Seat:
        """The seat, built when first asked for. Raises KernelError."""
        ...
