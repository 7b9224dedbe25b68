"""The container runtime's side of the agent: the CNI service, and the files by which the runtime finds it.

The configuration is written when the kernel enforces and the node has addresses to give, since a runtime takes the node
for ready as soon as it sees one. Those files stay when the agent stops: the shim then says to try later.
"""

import asyncio
import logging

from vallum.agent.addressing import Addressing, Duty
from vallum.agent.guard import Guard
from vallum.agent.settings import Cni
from vallum.cni import build, chain, conflist
from vallum.cni.conflist import Places
from vallum.cni.service import Doors, Service
from vallum.cni.verbs import Verbs
from vallum.kernel import forwarding
from vallum.model.address import Address
from vallum.model.errors import InputError, KernelError
from vallum.model.objects import Node
from vallum.model.wiring import Wiring

_log = logging.getLogger("vallum.agent")
_AGAIN = 5.0
"""Seconds until files that could not be written are tried again."""


class Runtime:
    """Construct it on the loop, in the node's network namespace; `open`, then `serve` until cancelled, then `close`."""

    def __init__(self, settings: Cni, guard: Guard, addressing: Addressing) -> None:
        self._settings = settings
        self._guard = guard
        self._addressing = addressing
        self._families: set[int] = set()
        self._reason: str | None = "the agent has just started"
        self._able = asyncio.Event()
        self._doors = Doors(settings.socket, settings.state_dir / "queue")
        self._places = Places(settings.conf_dir, settings.bin_dir)
        self._mtu: int | None = None
        self._verbs = Verbs(addressing.allocator, guard, lambda: self._reason, lambda: self._mtu)
        self._service = Service(self._doors, self._verbs)
        self._faults: dict[str, str] = {}

    async def open(self) -> None:
        """Take the socket, and over what an earlier life has wired. Raises InputError, KernelError."""
        self._guard.adopt(await self._service.open())

    def close(self) -> None:
        """Answer nobody any more; attachments and files stay."""
        self._service.close()

    def know(self, unready: str | None, own: Node | None, plan: Wiring | None) -> None:
        """Why the kernel is behind the world, if it is, what the source says of this node, and its roads to others."""
        self._addressing.know(own, tunnels=bool(plan.devices) if plan is not None else None)
        self._mtu = plan.mtu if plan is not None else None
        families = self._addressing.families()
        if families != self._families:
            self._families = families
            self._forward(families)
        self._reason = unready or (None if self._settings.chain else self._addressing.missing())
        if self._reason is None:
            self._able.set()

    async def serve(self) -> None:
        """Answer calls, and once there is something to answer have the runtime told."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._service.serve())
            tasks.create_task(self._announce())

    def problems(self) -> tuple[str, ...]:
        """What could not be done for the runtime or its pods."""
        return (*self._faults.values(), *self._addressing.problems())

    def sources(self) -> tuple[Address, ...] | None:
        """See `Addressing`."""
        return self._addressing.sources()

    def duties(self) -> list[Duty]:
        """What runs for the addresses, once there is a source."""
        return self._addressing.duties(self._verbs.beside, self._verbs.look)

    def _forward(self, families: set[int]) -> None:
        for family in sorted(families):
            self._fault(f"forwarding {family}", None)
            try:
                forwarding.ensure(family)
            except KernelError as error:
                self._fault(f"forwarding {family}", f"packets of pods are not forwarded: {error}; set it to 1")

    def _fault(self, what: str, text: str | None) -> None:
        if text is None:
            self._faults.pop(what, None)
        elif self._faults.get(what) != text:
            self._faults[what] = text
            _log.warning("%s", text)

    async def _announce(self) -> None:
        await self._able.wait()
        while True:
            try:
                await asyncio.to_thread(self._install)
            except (InputError, KernelError) as error:
                self._fault("files", f"the container runtime cannot be told of us: {error}")
            else:
                self._fault("files", None)
                if not self._settings.chain:
                    return
            await asyncio.sleep(_AGAIN)  # another plugin's configuration may change at any time

    def _install(self) -> None:
        shim = build.shim()
        if self._settings.chain:
            chain.install(self._places, shim, self._doors, self._settings.chain)
        else:
            conflist.install(self._places, shim, self._doors)
