"""Addresses that a whole cluster shares: this node's blocks, kept in step with the API (`--ipam cluster`).

News go to the store and to the world at once; what the API should know of this node is written in rounds: claims soon,
what is in use at most twice a minute. An ADD waits for none of it unless it needs another block.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vallum.agent.addressing import Beside, Duty
from vallum.agent.nodelease import NodeLease
from vallum.agent.territory import Territory, territory
from vallum.agent.world import World
from vallum.ipam.ledger import Ledger
from vallum.ipam.records import key_of
from vallum.model.address import Address
from vallum.model.errors import InputError, KernelError
from vallum.model.objects import Node
from vallum.model.snapshot import Batch
from vallum.sources.kube.errors import ApiError, UnreachableError
from vallum.sources.kube.ipam_api import ConflictError, IpamApi
from vallum.sources.kube.ipam_bridge import Remote
from vallum.sources.kube.ipam_forms import KINDS, Stored, describe, name_of
from vallum.sources.kube.ipam_host import HostStore, Job
from vallum.sources.kube.ipam_pools import ClusterPools
from vallum.sources.kube.trouble import Trouble
from vallum.sources.kube.watch import watch

if TYPE_CHECKING:
    from vallum.sources.kube.client import Client

PUBLISH, SPREAD = 30.0, 0.25
"""Seconds between two reports of what is in use, and the share of it that chance adds: all nodes hear of each."""
CALM = 0.2
"""Seconds between two rounds at least."""


class SharedPools:
    """Implements `addressing.Addressing`. Before `connect` it lives on the node's own ledger.

    Args:
        node: its name.
        ledger: the file of this node.
        world: is told whose ranges are which, and asked for the labels of namespaces.
        changed: called when addresses can be given, or no more, or ranges are others.

    Attributes:
        heard: the API has been read, so that it is known which ranges are whose.
    """

    def __init__(self, node: str, ledger: Path, world: World, changed: Callable[[], None]) -> None:
        self._node = node
        self._world = world
        self._changed = changed
        self._remote = Remote()
        kept = Ledger(ledger)
        self._store = HostStore(node, kept, self._remote)
        self._at = -1
        self._client: Client | None = None
        self._own: Node | None = None
        self._wake = asyncio.Event()
        self.heard = False
        self._families: set[int] = set()
        self._trouble = Trouble("")
        self._unplaced, self._unwritten = "the Kubernetes API has not been read yet", ""
        self._tunnels: bool | None = None
        self._pools = ClusterPools(self._store, self._remote, node, self._labels_of)
        self.allocator = NodeLease(self._pools, lambda owner: self._store.state().held(node, owner))
        world.lay(territory(kept.state()))

    def connect(self, client: "Client") -> None:
        """The API, entered already."""
        self._client = client
        self._remote.connect(asyncio.get_running_loop(), IpamApi(client, owned=True))

    def close(self) -> None:
        """Ask the API no more, before it is closed."""
        self._remote.close()

    def know(self, own: Node | None, *, tunnels: bool | None = None) -> None:
        """See `Addressing`."""
        if tunnels is not None and tunnels != self._tunnels:
            self._tunnels = tunnels
            self._wake.set()
        if own is not None and (self._own is None or (own.labels, own.addresses) != self._marks(self._own)):
            self._own = own
            self._wake.set()

    def sources(self) -> tuple[Address, ...] | None:
        """See `Addressing`."""
        return self.allocator.addresses

    def missing(self) -> str | None:
        """See `Addressing`."""
        why = self._trouble.text or self._unplaced
        return None if self._families else f"this node has no place to take addresses from: {why}"

    def families(self) -> set[int]:
        """See `Addressing`."""
        return self._families

    def problems(self) -> tuple[str, ...]:
        """See `Addressing`."""
        unplaced = self._unplaced if self._families else ""
        found = (
            self._store.problem,
            unplaced,
            self.allocator.problem,
            self._trouble.text,
            *self._trouble.objects,
            self._unwritten,
        )
        return tuple(dict.fromkeys(each for each in found if each))

    def duties(self, beside: Beside, look: Callable[[], Awaitable[None]]) -> list[Duty]:
        """See `Addressing`."""
        assert self._client is not None, "connect comes first"
        return [
            partial(self._follow, self._client, beside),
            partial(self._keep, IpamApi(self._client, owned=True), beside, look),
        ]

    def _labels_of(self, namespace: str) -> tuple[tuple[str, str], ...]:
        """In the allocator's thread; a snapshot never changes."""
        found = self._world.snapshot.namespaces.get(namespace)
        return found.labels if found else ()

    def _marks(self, node: Node) -> tuple[object, object]:
        return node.labels, node.addresses

    # News

    async def _follow(self, client: "Client", beside: Beside) -> None:
        async for each in watch(client, self._node, kinds=KINDS):
            match each:
                case Batch():
                    self._store.hear(each)
                    await self._lay(beside)
                    self.heard = True
                    self._wake.set()
                case Trouble():
                    self._trouble, self._remote.away = each, each.text
                    self._changed()

    async def _lay(self, beside: Beside) -> None:
        try:
            found = await beside(self._news)
        except KernelError as error:  # the ledger cannot be written; the next round tries again
            self._unwritten = str(error)
            self._changed()
            return
        if found is not None and self._world.lay(found):
            self._changed()

    def _news(self) -> Territory | None:
        """In the allocator's thread: whose ranges are which, None where nothing of that has changed."""
        state = self._store.state()
        if self._at == self._store.changes:
            return None
        self._at = self._store.changes
        return territory(state)

    # Rounds

    async def _keep(self, api: IpamApi, beside: Beside, look: Callable[[], Awaitable[None]]) -> None:
        looked, published = False, float("-inf")
        while True:
            self._wake.clear()
            if self.heard and not looked:
                await look()
                looked = True
            if looked:
                await self._lay(beside)
                await self._join(beside)
                due = published + PUBLISH * (1 + SPREAD * random.random())  # noqa: S311 - no secret
                publish = time.monotonic() >= due
                published = time.monotonic() if publish else published
                self._unwritten = await self._write(api, beside, publish=publish)
            await asyncio.sleep(CALM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH):
                    await self._wake.wait()

    async def _join(self, beside: Beside) -> None:
        """Take our place, or keep it and say why the node's labels no longer fit."""
        before = (self._families, self._unplaced, self.allocator.addresses)
        own = self._own
        try:
            if own is not None:
                await beside(self._pools.join, own.labels, own.addresses)
                self._unplaced = ""
                await beside(partial(self.allocator.keep, wanted=self._tunnels))
            self._families = await beside(self._store.families)
        except (InputError, KernelError) as error:
            self._unplaced = str(error)
        if before != (self._families, self._unplaced, self.allocator.addresses):
            self._changed()

    async def _write(self, api: IpamApi, beside: Beside, *, publish: bool) -> str:
        """Do what is due; what could not be done, in words."""
        key = None
        try:
            job: Job
            for job in await beside(partial(self._store.due, publish=publish)):
                key = key_of(job.record)
                await beside(self._store.done, job, await _done(api, job))
        except KernelError as error:
            return str(error)
        except (ApiError, UnreachableError, InputError) as error:
            return f"{describe(key) if key else ''} cannot be written, it is tried again: {error}"
        return ""


async def _done(api: IpamApi, job: Job) -> Stored | None:
    """What stands there after a job: what it wrote, or what somebody wrote who was faster."""
    record = job.record
    try:
        if not job.remove:
            return await api.put(record)
        await api.remove(record)
    except ConflictError:
        return await api.find(key_of(record).kind, name_of(record))
    return None
