"""A pod is protected from its first packet: who wires it waits here until the kernel holds its rules (stance 17).

The pod's own end of its link is down until then, so nothing passes. What the wait needs: the pod's object from the
source, since its labels decide, and a reconcile that has read the rules back.
"""

import asyncio
from collections.abc import Callable, Iterable

from vallum.agent.world import World
from vallum.cni.result import CniError, Code
from vallum.model.address import pack
from vallum.model.attachment import LocalNode, PodAttachment

PATIENCE = 30.0
"""Seconds that ADD waits for the pod's object and its rules; the runtime tries again later."""


class Guard:
    """The attachments of this node. `want` asks for a reconcile; `why_late` tells what is wrong with the source."""

    def __init__(self, world: World, want: Callable[[], None], why_late: Callable[[], str | None]) -> None:
        self._world = world
        self._want = want
        self._why_late = why_late
        self._waiting: dict[PodAttachment, asyncio.Future[None]] = {}

    def adopt(self, attachments: Iterable[PodAttachment]) -> None:
        """Attachments of an earlier life: they have their rules, or get them with the first world."""
        for attachment in attachments:
            self._world.attach(attachment)

    async def protect(self, attachment: PodAttachment) -> None:
        """Return when the kernel holds the rules of this pod. After PATIENCE seconds raises CniError: try later."""
        future = self._waiting[attachment] = asyncio.get_running_loop().create_future()
        self._world.attach(attachment)
        self._want()
        try:
            async with asyncio.timeout(PATIENCE):
                await future
        except TimeoutError:
            raise CniError(Code.TRY_LATER, self._missing(attachment)) from None
        finally:
            del self._waiting[attachment]

    async def release(self, attachment: PodAttachment) -> None:
        """The pod is gone from here. Unknown attachments change nothing."""
        self._world.detach(attachment)
        self._want()

    def enforced(self, local: LocalNode) -> None:
        """The kernel was read to hold the rules of these pods."""
        held = {(each.pod, frozenset(each.addresses)) for each in local.attachments}
        for attachment, future in self._waiting.items():
            wanted = (attachment.pod, frozenset(map(pack, attachment.addresses)))
            if wanted in held and not future.done():
                future.set_result(None)

    def _missing(self, attachment: PodAttachment) -> str:
        fault = self._why_late()
        because = f"; {fault}" if fault else ""
        if not self._world.knows(attachment):
            uid = f" with uid {attachment.uid}" if attachment.uid else ""
            what = f"the API has not told of pod {attachment.pod}{uid} in {PATIENCE:g} s"
            return f"{what}, so its labels are unknown{because}"
        return f"the rules of pod {attachment.pod} did not get into the kernel in {PATIENCE:g} s{because}"
