"""The allocator of one host over a store of networks, groups and blocks: every answer is decided and kept at once.

What it ignores: how the store keeps things, and who the other hosts are.
"""

from collections.abc import Mapping

from vallum.ipam import Lease, Owner, Request, blocks, place
from vallum.ipam.store import Store
from vallum.model.address import Address
from vallum.model.selector import Labels


class Pools:
    """Implements `ipam.Allocator`.

    Args:
        store: what is given out by all hosts.
        host: the name of this one. It must join before it gets addresses.
    """

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host

    def join(self, labels: Labels = (), addresses: tuple[Address, ...] = ()) -> None:
        """Take a place in the groups that fit, or bring labels and addresses up to date.

        Raises InputError where no group takes it, and KernelError as every call here.
        """
        self._store.commit(lambda state: (place.join_again(state, self._host, labels, addresses), None))

    def leave(self) -> None:
        """Give up every place and address, for good."""
        self._store.commit(lambda state: (place.leave(state, self._host, self._store.now()), None))

    def allocate(self, request: Request) -> Lease:
        """See `ipam.Allocator`."""
        return self._store.commit(lambda state: blocks.allocate(state, self._host, request, self._store.now()))

    def free(self, owner: Owner) -> None:
        """See `ipam.Allocator`."""
        self._store.commit(lambda state: (blocks.free(state, self._host, owner, self._store.now()), None))

    def adopt(self, held: Mapping[Owner, tuple[Address, ...]]) -> None:
        """See `ipam.Allocator`. What is in use is taken in, whatever the store says; what is not is freed."""
        self._store.commit(lambda state: (blocks.adopt(state, self._host, held, self._store.now()), None))
