"""A source that tests feed by hand: the same stream of batches that a folder gives, without a disk."""

import asyncio
from collections.abc import AsyncIterator

from vallum.model.errors import InputErrors
from vallum.model.snapshot import Batch


class MemorySource:
    """What is put comes out in order; the stream ends when it is closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Batch | InputErrors | None] = asyncio.Queue()

    def put(self, batch: Batch | InputErrors) -> None:
        """Make this the next thing that the stream gives."""
        self._queue.put_nowait(batch)

    def close(self) -> None:
        """End the stream once all that was put is taken."""
        self._queue.put_nowait(None)

    async def watch(self) -> AsyncIterator[Batch | InputErrors]:
        """The stream."""
        while (batch := await self._queue.get()) is not None:
            yield batch
