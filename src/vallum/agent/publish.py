"""Keeps the NodeState of this node in the API up to date. Enforcement never waits for it, and never fails with it."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Any

from vallum.agent.nodestate import Due, document, path
from vallum.agent.status import now
from vallum.sources.kube.client import Client
from vallum.sources.kube.errors import ApiError, UnreachableError

_log = logging.getLogger("vallum.agent")
_FORM = "application/apply-patch+yaml"
_ASKED = {"fieldManager": "vallum-agent", "force": "true"}


class Publisher:
    """Writes what `state` tells, when it changed and `nodestate.Due` allows. `state` gives None before there is any."""

    def __init__(self, client: Client, node: str, state: Callable[[], dict[str, Any] | None]) -> None:
        self._client = client
        self._node = node
        self._state = state
        self._changed = asyncio.Event()
        self._fault = ""

    def changed(self) -> None:
        """There may be something new to tell."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        due, written = Due(), None
        while True:
            found = self._state()
            wait = None if found is None else due.wait(time.monotonic(), changed=found != written)
            if found is not None and wait == 0:
                written = found if await self._write(found) else None
                due = Due(time.monotonic(), random.random())  # noqa: S311 - so that nodes do not write together
                continue
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _write(self, status: dict[str, Any]) -> bool:
        try:
            owner = await self._client.get(f"/api/v1/nodes/{self._node}")
            body = document(self._node, owner["metadata"]["uid"], status, now())
            await self._client.patch(path(self._node), body, form=_FORM, params=_ASKED)
        except (ApiError, UnreachableError) as error:
            if str(error) != self._fault:
                _log.warning("the state of this node cannot be published: %s", error)
            self._fault = str(error)
            return False
        self._fault = ""
        return True
