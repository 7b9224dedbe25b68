"""Addresses from one ledger that all nodes of a machine share (`--ipam ledger`): a place in its groups, and its blocks.

What it ignores: who laid the networks (`vallum ipam topology set`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from vallum.agent.addressing import Beside, Duty
from vallum.agent.nodelease import NodeLease
from vallum.agent.territory import Territory, territory
from vallum.agent.world import World
from vallum.ipam.ledger import Ledger
from vallum.ipam.pools import Pools
from vallum.model.address import Address
from vallum.model.errors import InputError
from vallum.model.objects import Node

_AGAIN = 5.0
"""Seconds between two looks at what other processes wrote to a ledger."""


class LedgerPools:
    """Several nodes of one machine take their places in the groups of one ledger (`vallum ipam import`).

    Args:
        node: its name.
        ledger: the file that they share.
        world: is told whose ranges are which.
        changed: called when addresses can be given, or no more.
    """

    def __init__(self, node: str, ledger: Path, world: World, changed: Callable[[], None]) -> None:
        self._node = node
        self._ledger = Ledger(ledger)
        self._world = world
        self._changed = changed
        self._own: Node | None = None
        self._wake = asyncio.Event()
        self._families: set[int] = set()
        self._fault: str | None = "the node has not been told of yet"
        self._tunnels: bool | None = None
        self._pools = Pools(self._ledger, node)
        self.allocator = NodeLease(self._pools, lambda owner: self._ledger.state().held(node, owner))
        world.lay(territory(self._ledger.state()))

    def know(self, own: Node | None, *, tunnels: bool | None = None) -> None:
        """See `Addressing`."""
        self._own, self._tunnels = own, tunnels
        self._wake.set()

    def missing(self) -> str | None:
        """See `Addressing`."""
        return None if self._families else f"this node has no place to take addresses from: {self._fault}"

    def families(self) -> set[int]:
        """See `Addressing`."""
        return self._families

    def problems(self) -> tuple[str, ...]:
        """See `Addressing`."""
        faults = (self._fault if self._families else "", self.allocator.problem)
        return tuple(each for each in faults if each)

    def sources(self) -> tuple[Address, ...] | None:
        """See `Addressing`."""
        return self.allocator.addresses

    def duties(self, beside: Beside, look: Callable[[], Awaitable[None]]) -> list[Duty]:  # noqa: ARG002 - it knows
        """See `Addressing`."""
        return [partial(self._keep, beside)]

    async def _keep(self, beside: Beside) -> None:
        while True:
            self._wake.clear()
            if self._own is not None:
                before = self._said()
                found = await beside(self._joined, self._own)
                if self._world.lay(found) or before != self._said():
                    self._changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN):
                    await self._wake.wait()

    def _said(self) -> tuple[object, ...]:
        return self._families, self._fault, self.allocator.addresses, self.allocator.problem

    def _joined(self, own: Node) -> Territory:
        """In the allocator's thread."""
        try:
            self._pools.join(own.labels, own.addresses)
            self._fault = None
        except InputError as error:
            self._fault = str(error)
        else:
            self.allocator.keep(wanted=self._tunnels)
        state = self._ledger.state()
        mine = state.hosts.get(self._node)
        places = mine.places if mine else ()
        self._families = {
            state.networks[each.network].cidr.version for each in places if each.network in state.networks
        }
        return territory(state)
