"""Which address a pod gets. `choose` is pure and decides; an `Allocator` remembers. Floor 2: knows the model only.

An allocator blocks for as long as its store takes and belongs to one thread. What is in use is told to it at the start
(`adopt`), by whoever can read it back from the kernel: no store is believed against the node itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vallum.model.address import Address
from vallum.model.errors import InputError
from vallum.model.objects import PodId
from vallum.model.selector import Labels

Owner = str
"""Who holds addresses: one name for each attachment, never used again for another while it stands."""


NODE: Owner = "node"
"""Holds the addresses of a node itself; attachments are named otherwise (`cni.attached.interface_name`)."""


class ExhaustedError(InputError):
    """There is nothing to give now; later there may be. The text says of which range, and what would help."""


@dataclass(frozen=True, slots=True)
class Request:
    """One pod asks for an address of each family.

    Attributes:
        owner: who holds them then.
        pod: for whom; its namespace is the tenant.
        wanted: the very addresses that it asks for, at most one a family.
        namespace: the labels of its namespace, for networks that select namespaces.
    """

    owner: Owner
    pod: PodId
    wanted: tuple[Address, ...] = ()
    namespace: Labels = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """What was given: one address of each family, in the order of the ranges."""

    owner: Owner
    addresses: tuple[Address, ...]


class Allocator(Protocol):
    """Gives addresses out and takes them back. No address is ever given to two owners."""

    def allocate(self, request: Request) -> Lease:
        """Raises ExhaustedError, or InputError for wanted addresses that cannot be had; nothing is held then."""
        ...

    def free(self, owner: Owner) -> None:
        """Take back what this owner holds. Repeatable: an owner that holds nothing is nothing."""
        ...

    def adopt(self, held: Mapping[Owner, tuple[Address, ...]]) -> None:
        """What is in use on this node, as it was read back; nothing else is: what was held before is freed."""
        ...
