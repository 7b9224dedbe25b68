"""Where the records are kept that must survive: the face of a store. It decides nothing.

`ipam.ledger` keeps them in SQLite on one machine; a store over a shared API has the same face and passes the same tests
(tests/ipam/store_contract.py).
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from vallum.ipam.records import Change
from vallum.ipam.state import State

Result = TypeVar("Result")
Decision = Callable[[State], tuple[Change, Result]]
"""Reads the State and nothing else: it may be asked again, when somebody else was first."""


class Store(Protocol):
    """Keeps records; belongs to one thread."""

    def state(self) -> State:
        """What is kept now, with what others wrote. Read it; it goes on changing with later calls.

        Raises KernelError where the store cannot be read.
        """
        ...

    def commit(self, decide: Decision[Result]) -> Result:
        """Decide on the newest state and keep what was decided; when this returns, it survives anything.

        What `decide` raises is passed on, and nothing is kept. Raises KernelError where the store takes nothing: then
        nothing was kept, as far as anybody was told, and the State is read anew.
        """
        ...

    def now(self) -> float:
        """Seconds on the clock that freed addresses are noted in; never behind one that was, not even after a boot."""
        ...
