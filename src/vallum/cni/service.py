"""The agent's side of the plugin: a unix socket on which each call of a container runtime is one short connection.

A caller that goes away (a runtime that lost patience) has its call cancelled, and what it began undone. DELs that came
while no agent ran wait in a folder and are done before anything else. It knows the way calls come; what they do is
`verbs`' affair. Everything runs in `serve`, in tasks of its own group.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vallum.cni.verbs import Verbs
from vallum.cni.wire import Answer, BrokenCallError, Call, decode, size_of
from vallum.model.attachment import PodAttachment
from vallum.model.errors import InputError

_log = logging.getLogger("vallum.cni")
_BACKLOG = 512
_PATIENCE = 10.0
"""Seconds that a caller may take to say what it wants."""
_PART = 1 << 16


@dataclass(frozen=True, slots=True)
class Doors:
    """Where calls come in: the socket, and the folder in which the shim leaves DELs while nobody listens."""

    socket: Path = Path("/run/vallum/cni.sock")
    queue: Path = Path("/var/lib/vallum/cni/queue")


class Service:
    """Answers the shim. `open`, then `serve` for as long as the agent runs, then `close`."""

    def __init__(self, doors: Doors, verbs: Verbs) -> None:
        self._doors = doors
        self._verbs = verbs
        self._listening: socket.socket | None = None
        self._draining = asyncio.Lock()

    async def open(self) -> tuple[PodAttachment, ...]:
        """Take the socket, clear what an earlier life left half made, do the DELs that wait.

        Callers wait from now on and are answered by `serve`. Returns the attachments that stand after that.

        Raises:
            InputError: another agent has the socket.
            KernelError: the node's links cannot be read.
        """
        self._listening = self._listen()
        await self._verbs.start()
        await self._drain()
        return await self._verbs.start()

    async def serve(self) -> None:
        """Answer until cancelled; calls that are being answered are then undone."""
        assert self._listening is not None, "open comes first"
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                caller, _ = await loop.sock_accept(self._listening)
                tasks.create_task(self._meet(caller))

    def close(self) -> None:
        """Stop listening and give the socket's name back. Attachments stay."""
        if self._listening is not None:
            self._listening.close()
            self._doors.socket.unlink(missing_ok=True)
        self._verbs.close()

    def _listen(self) -> socket.socket:
        path = self._doors.socket
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
            probe.connect(str(path))
            raise InputError(str(path), "another agent answers here; stop it or choose another --cni-socket")
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(mask)
        listening.listen(_BACKLOG)
        return listening

    async def _meet(self, caller: socket.socket) -> None:
        with caller:
            caller.setblocking(False)
            try:
                async with asyncio.timeout(_PATIENCE):
                    call = await _receive(caller)
            except (BrokenCallError, OSError, TimeoutError) as error:
                _log.warning("a caller that is not our plugin, or went away: %s", error)
                return
            try:
                answer = await self._answer(caller, call)
            finally:
                await self._verbs.discard(call)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(caller, answer.encode())
        await self._drain()

    async def _answer(self, caller: socket.socket, call: Call) -> Answer:
        """The answer, cancelled when its caller goes away."""
        answering = asyncio.ensure_future(self._verbs.answer(call))
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(caller)  # once: a second time would cancel the undoing
            answering.cancel()

        loop.add_reader(caller, gone)  # a caller says nothing more: what is to read is its end
        try:
            return await answering
        except asyncio.CancelledError:
            if answering.cancelled() and not _is_cancelled():
                return Answer(1, b"")  # nobody is there to read it
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering
            raise
        finally:
            loop.remove_reader(caller)

    async def _drain(self) -> None:
        """Do the DELs that wait. One that the kernel refuses stays for the next time."""
        if self._draining.locked() or not self._waiting():
            return
        async with self._draining:
            for file in self._waiting():
                try:
                    answer = await self._verbs.answer(decode(file.read_bytes()))
                except (OSError, BrokenCallError) as error:
                    answer = Answer(1, str(error).encode())
                if answer.status:
                    _log.warning("queued DEL %s: %s", file, answer.text.decode().strip())
                if not answer.again:
                    file.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        """Files whose name begins with a dot are still being written."""
        with suppress(FileNotFoundError):
            return sorted(file for file in self._doors.queue.iterdir() if not file.name.startswith("."))
        return []


def _is_cancelled() -> bool:
    """Reports whether the running task itself is asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _receive(caller: socket.socket) -> Call:
    descriptors: list[int] = []
    try:
        await _readable(caller)
        data, descriptors, _, _ = socket.recv_fds(caller, _PART, 2, socket.MSG_CMSG_CLOEXEC)
        more = data
        while more and (len(data) < 4 or len(data) < size_of(data)):
            more = await asyncio.get_running_loop().sock_recv(caller, _PART)
            data += more
        call = decode(data)
        call.hold(descriptors)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return call


async def _readable(caller: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    seen = loop.create_future()

    def note() -> None:
        loop.remove_reader(caller)
        seen.set_result(None)

    loop.add_reader(caller, note)
    try:
        await seen
    finally:
        loop.remove_reader(caller)
