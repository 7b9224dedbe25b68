"""A plane that a test holds in its hand, and an agent in this very process that uses it."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from inside import run_inside
from vallum import dataplane
from vallum.agent.run import Agent
from vallum.agent.settings import Settings
from vallum.dataplane import Denial, Meddling
from vallum.dataplane.memory.plane import MemoryPlane, MemoryProgram
from vallum.model.errors import KernelError
from vallum.model.objects import Object
from vallum.sources.encode import manifest

Result = TypeVar("Result")
PATIENCE = 10.0


class Queue:
    """Reports that a test puts in: readable as soon as there is one."""

    lost = 0

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK)
        self._queue: list[Any] = []

    def put(self, event: Meddling | Denial) -> None:
        self._queue.append(event)
        os.write(self._write, b"x")

    def fileno(self) -> int:
        return self._read

    def drain(self) -> list[Any]:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        found, self._queue = self._queue, []
        return found


class FakePlane(MemoryPlane):
    """Counts what it is asked, and fails or forgets when told to. One for each process."""

    name = "fake"
    one: "FakePlane"

    def __init__(self, mark_mask: int = 0) -> None:
        super().__init__(mark_mask)
        FakePlane.one = self
        self.meddlings, self.records = Queue(), Queue()
        self.applied: list[MemoryProgram] = []
        self.attempts = self.reads = 0
        self.fault: str | None = None
        self.deaf = False
        self.thief_at = -1

    def apply(self, program: MemoryProgram) -> None:
        self.attempts += 1
        if self.fault:
            raise KernelError(self.fault)
        if not self.deaf:
            super().apply(program)
        self.applied.append(program)

    def read(self) -> MemoryProgram | None:
        self.reads += 1
        if self.reads == self.thief_at:
            self.forget()
            self.meddlings.put(Meddling("nft[8]", "1 x deleted table"))
        return super().read()

    def forget(self) -> None:
        """Somebody took the rules away."""
        MemoryPlane.clear(self)

    def events(self) -> Queue:
        return self.meddlings

    def denials(self) -> Queue:
        return self.records


class Run:
    """A running agent, its plane, its world's folder and its socket."""

    def __init__(self, agent: Agent, settings: Settings) -> None:
        self.agent, self.settings = agent, settings
        self.plane = FakePlane.one
        self.ended: asyncio.Task[None]

    def write(self, things: Iterable[Object]) -> None:
        """Replace the world."""
        self.write_text(
            msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": list(map(manifest, things))}).decode()
        )

    def write_text(self, content: str) -> None:
        fresh = self.settings.source / ".fresh"
        fresh.write_text(content, encoding="utf-8")
        fresh.rename(self.settings.source / "world.json")

    async def ask(self, line: str) -> dict[str, Any]:
        """One question to the socket."""
        reader, writer = await asyncio.open_unix_connection(self.settings.socket)
        writer.write(line.encode() + b"\n")
        answer = msgspec.json.decode(await reader.readline())
        writer.close()
        return answer  # type: ignore[no-any-return]

    async def until(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that satisfies, from the stream of all of them."""
        seen: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self.settings.socket)
                writer.write(b'{"op": "follow"}\n')
                while True:
                    seen.append(msgspec.json.decode(await reader.readline()))
                    if seen[-1].get("event") == "status" and reached(seen[-1]):
                        writer.close()
                        return seen[-1]
        except TimeoutError:
            raise AssertionError(f"never reached; the last: {seen[-1:]}") from None


@contextlib.asynccontextmanager
async def running(things: Iterable[Object], **more: Any) -> AsyncIterator[Run]:
    """An agent of node1 with a fake plane, enforcing this world."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "world").mkdir()
        settings = Settings("node1", folder / "world", "fake", "none", folder / "sock", **more)
        dataplane.PLANES["fake"] = ("fakeplane:FakePlane",)
        found = Run(Agent(settings), settings)
        found.write(things)
        task = found.ended = asyncio.create_task(found.agent.run())
        try:
            while not (settings.socket.exists() or task.done()):  # noqa: ASYNC110 - nothing tells of the file
                await asyncio.sleep(0.001)
            await found.until(lambda status: status["revision"] is not None)
            yield found
        finally:
            found.agent._stop.set()
            if not task.done():
                await task


def with_agent(piece: Callable[[Run], Awaitable[Result]], things: Iterable[Object], **more: Any) -> Result:
    """What `piece` returns, beside a running agent, in a sandbox."""

    async def body() -> Result:
        async with running(things, **more) as run:
            return await piece(run)

    return run_inside(lambda: asyncio.run(body()))
