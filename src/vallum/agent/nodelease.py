"""An address of each family for the node itself, out of the blocks that its pods are given addresses from: what the
node sends through a tunnel comes from there. Used by the allocator's thread.

It is held by an owner of its own in the same ledger, so it outlives the agent. What it ignores: nodes whose ranges
spare an address anyway (`ipam.choose.spare`), and who needs a tunnel.
"""

from collections.abc import Callable, Mapping

from vallum.ipam import NODE, Allocator, Lease, Owner, Request
from vallum.model.address import Address, Packed, unpack
from vallum.model.errors import InputError
from vallum.model.objects import PodId


class NodeLease:
    """Implements `ipam.Allocator` for pods: it hands on, and never lets the node's own addresses be taken for free.

    Args:
        allocator: of the ledger.
        held: what an owner on this node has in it.

    Attributes:
        addresses: those of the node itself.
        problem: why there are none though they are wanted; empty when all is well.
    """

    def __init__(self, allocator: Allocator, held: Callable[[Owner], tuple[Packed, ...]]) -> None:
        self._allocator = allocator
        self._held = held
        self.addresses: tuple[Address, ...] = self._mine()
        self.problem = ""

    def allocate(self, request: Request) -> Lease:
        """See `ipam.Allocator`."""
        return self._allocator.allocate(request)

    def free(self, owner: Owner) -> None:
        """See `ipam.Allocator`."""
        self._allocator.free(owner)

    def adopt(self, held: Mapping[Owner, tuple[Address, ...]]) -> None:
        """See `ipam.Allocator`."""
        mine = self._mine()
        self._allocator.adopt({**held, NODE: mine} if mine else held)

    def keep(self, *, wanted: bool | None) -> None:
        """Have addresses where they are wanted, and none where not; None: not known yet, what is stays.

        Raises KernelError where the ledger cannot be read or written.
        """
        mine = self._mine()
        self.problem = ""
        if wanted and not mine:
            try:
                self._allocator.allocate(Request(NODE, PodId("", NODE)))
            except InputError as error:
                text = "packets of the node itself to pods of other nodes come from an address outside of its pods'"
                self.problem = f"{text}: {error}"
        elif wanted is False and mine:
            self._allocator.free(NODE)
        self.addresses = self._mine()

    def _mine(self) -> tuple[Address, ...]:
        return tuple(map(unpack, self._held(NODE)))
