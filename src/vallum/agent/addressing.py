"""Where a node's pods get their addresses from: its podCIDRs (here), a ledger of this machine (`ledgered`), or the
cluster's API (`shared`).

Each has an allocator, which belongs to the thread of the CNI verbs, and duties on the loop. What it ignores: what the
runtime asks for, and what an address is used for.
"""

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from vallum.ipam import Allocator
from vallum.ipam.ranges import NodeRanges
from vallum.model.address import Address
from vallum.model.objects import Node

Duty = Callable[[], Coroutine[Any, Any, None]]
Beside = Callable[..., Awaitable[Any]]
"""Has the allocator's thread do something."""


class Addressing(Protocol):
    """What the agent asks of each of them, on the loop."""

    @property
    def allocator(self) -> Allocator:
        """For the CNI verbs."""
        ...

    def know(self, own: Node | None, *, tunnels: bool | None = None) -> None:
        """What the source says of this node now, and whether it has tunnels to others, as far as that is known."""
        ...

    def sources(self) -> tuple[Address, ...] | None:
        """Addresses that the node has for itself; None: those that its ranges spare."""
        ...

    def missing(self) -> str | None:
        """Why no pod can get an address, None when it can."""
        ...

    def families(self) -> set[int]:
        """Those that addresses are given of."""
        ...

    def problems(self) -> tuple[str, ...]:
        """What is not as it should be, for `status`."""
        ...

    def duties(self, beside: Beside, look: Callable[[], Awaitable[None]]) -> list[Duty]:
        """What runs beside the verbs. `look` has the node read back what is in use."""
        ...


class PodCidrs:
    """Each node has its podCIDRs, and gives out of them."""

    def __init__(self, file: Path) -> None:
        self.allocator = NodeRanges((), file)

    def know(self, own: Node | None, *, tunnels: bool | None = None) -> None:  # noqa: ARG002 - its ranges spare some
        """See `Addressing`."""
        self.allocator.ranges = own.pod_ranges if own else ()

    def sources(self) -> tuple[Address, ...] | None:
        """See `Addressing`."""
        return None

    def missing(self) -> str | None:
        """See `Addressing`."""
        return None if self.allocator.ranges else "the node has no spec.podCIDRs to give addresses from"

    def families(self) -> set[int]:
        """See `Addressing`."""
        return {network.version for network in self.allocator.ranges}

    def problems(self) -> tuple[str, ...]:
        """See `Addressing`."""
        return ()

    def duties(self, beside: Beside, look: Callable[[], Awaitable[None]]) -> list[Duty]:  # noqa: ARG002 - none
        """See `Addressing`."""
        return []
