"""The agent's local socket: one JSON object a line, asked and answered.

`{"op": "status"}` is answered once; `{"op": "follow"}` with a status line now and after every reconcile, and a line for
every denial as it happens. Other answers are given to it by name; long ones are written while the asker reads.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from vallum.model.errors import InputError

_LINE = 1 << 16
_AT_ONCE = 256
"""Lines that are made and sent before anything else has its turn."""

Answer = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]
"""The lines that answer a request. They are made in a thread: an iterator must live on what never changes."""


class Api:
    """Serves one unix socket. `publish` reaches every follower; a slow follower is cut off, never waited for."""

    def __init__(self, path: Path, status: Callable[[], dict[str, Any]], answers: Mapping[str, Answer]) -> None:
        self._path = path
        self._status = status
        self._answers = answers
        self._followers: set[asyncio.StreamWriter] = set()

    async def serve(self) -> asyncio.Server:
        """Start listening. A socket file that nobody answers is replaced; raises InputError when one is in use."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            await self._take_over()
        server = await asyncio.start_unix_server(self._client, self._path, limit=_LINE)
        os.chmod(self._path, 0o660)  # noqa: PTH101 - one call for what surface promises
        return server

    def publish(self, event: dict[str, Any]) -> None:
        """Send to every follower."""
        line = msgspec.json.encode(event) + b"\n"
        for writer in tuple(self._followers):
            if writer.transport.get_write_buffer_size() > 1 << 20:
                writer.close()
                self._followers.discard(writer)
            else:
                writer.write(line)

    async def _take_over(self) -> None:
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            self._path.unlink(missing_ok=True)
            return
        writer.close()
        raise InputError(str(self._path), "another agent answers here; stop it or choose another --socket")

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                await self._answer(line, writer)
        self._followers.discard(writer)
        writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            request = {}
        op = request.get("op")
        match op:
            case "status":
                answer: Iterable[dict[str, Any]] = [self._status()]
            case "follow":
                self._followers.add(writer)
                answer = [{"event": "status"} | self._status()]
            case str() if op in self._answers:
                answer = self._answers[op](request)
            case _:
                known = ", ".join(f'{{"op": "{name}"}}' for name in ("status", "follow", *self._answers))
                answer = [{"error": f"unknown request; ask one of {known}"}]
        lines = iter(answer)
        if isinstance(answer, list):  # at once: what is published now must not come before it
            writer.write(_encoded(lines, len(answer)))
        else:
            while part := await asyncio.to_thread(_encoded, lines, _AT_ONCE):
                writer.write(part)
                await writer.drain()
        await writer.drain()


def _encoded(lines: Iterator[dict[str, Any]], most: int) -> bytes:
    return b"".join(msgspec.json.encode(one) + b"\n" for one in islice(lines, most))
