"""A lab in the background and how commands talk to it: one JSON object a line over a unix socket.

`{"op": "apply", "documents": [...]}`, `{"op": "probe", "probes": [...]}`, and without more `status`, `doctor` (what
each node's agent finds wrong) and `down`. An answer has `error` or the result; documents are manifests, so that they
are checked by the same strict reader.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from vallum.agent.ask import ask as exchange
from vallum.analysis.probe import Probe, parse
from vallum.kernel import sandbox
from vallum.lab.lab import Lab, LabSettings, started
from vallum.lab.place import Place
from vallum.lab.probing import Outcome
from vallum.model.errors import InputError, KernelError
from vallum.model.objects import Object
from vallum.sources.encode import manifest
from vallum.sources.folder import read_world

_LINE = 1 << 28
_PATIENCE = 10.0


def up(place: Place, settings: LabSettings, objects: tuple[Object, ...]) -> dict[str, Any]:
    """Start a lab in the background and return its status once it enforces its world.

    Raises InputError when it is up already or cannot be here, KernelError when it failed to start.
    """
    lock = place.take()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.socket))
    listener.listen()
    reading, writing = os.pipe()
    os.set_inheritable(lock, True)
    keep = (place.folder,) if place.folder.is_relative_to("/run") else ()
    kept = replace(settings, ledger=place.ledger)
    box = sandbox.spawn(lambda: _main(place, kept, objects, listener, writing), tie_to_parent=False, keep=keep)
    os.close(writing)
    (place.folder / "pid").write_text(str(box.pid), encoding="utf-8")
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    listener.close()
    os.close(lock)
    if not answer:
        box.kill()
        place.clear()
        raise KernelError("the lab ended while it was starting")
    told: dict[str, Any] = msgspec.json.decode(answer)
    if "error" in told:
        box.wait()
        place.clear()
        raise KernelError(told["error"])
    return told


def ask(place: Place, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request to a running lab and await the answer. Raises InputError with the lab's own words."""
    place.pid()
    try:
        told = exchange(place.socket, request)
    except OSError as error:
        raise InputError(f"lab {place.name}", f"it does not answer ({error.strerror}); end it with down") from error
    if "error" in told:
        raise InputError("", told["error"])
    return told


def await_end(place: Place, pidfd: int) -> None:
    """Wait until a lab that was told to end has ended, by force after a while, and clear its place."""
    if not select.select([pidfd], [], [], _PATIENCE)[0]:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])
    os.close(pidfd)
    place.clear()


def documents(objects: tuple[Object, ...]) -> list[dict[str, Any]]:
    """Objects in the form that `apply` takes."""
    return [manifest(thing) for thing in objects]


def _main(
    place: Place, settings: LabSettings, objects: tuple[Object, ...], listener: socket.socket, writing: int
) -> int:
    told = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal told
        if not told:
            told = True
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(msgspec.json.encode(answer))

    _to_background(place.log)
    try:
        asyncio.run(_serve(settings, objects, listener, tell))
    except (InputError, KernelError) as error:
        tell({"error": str(error)})
        return 1
    finally:
        place.clear()
    return 0


def _to_background(log: Path) -> None:
    """Leave the terminal: nobody's Ctrl-C is meant for a lab that outlives its command."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)


async def _serve(
    settings: LabSettings,
    objects: tuple[Object, ...],
    listener: socket.socket,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (2, 15):
        loop.add_signal_handler(number, ended.set)
    async with started(settings, objects) as lab:
        turn = asyncio.Lock()  # one request at a time: worlds are replaced as a whole

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    async with turn:
                        answer = await _answer(lab, line, ended)
                    writer.write(msgspec.json.encode(answer) + b"\n")
                    await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(client, sock=listener, limit=_LINE)
        tell(await lab.status())
        await ended.wait()
        server.close()


async def _answer(lab: Lab, line: bytes, ended: asyncio.Event) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        match request.get("op"):
            case "status":
                return await lab.status()
            case "doctor":
                told = await asyncio.gather(*(agent.ask("doctor") for agent in lab.agents.values()))
                return {"nodes": dict(zip(lab.agents, told, strict=True))}
            case "down":
                ended.set()
                return {"down": True}
            case "apply":
                seconds = await lab.apply(_objects(request["documents"]))
                lab.serve()
                return {"revision": lab.revision, "milliseconds": round(seconds * 1000, 1)}
            case "probe":
                return {"answers": await answers(lab, request["probes"])}
            case other:
                return {"error": f"unknown request {other!r}"}
    except (InputError, KernelError, msgspec.MsgspecError, KeyError) as error:
        return {"error": str(error)}


def _objects(items: list[dict[str, Any]]) -> tuple[Object, ...]:
    with tempfile.TemporaryDirectory() as folder:
        content = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items})
        Path(folder, "world.json").write_bytes(content)
        return read_world(folder).objects


async def answers(lab: Lab, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Probe lines -> answer lines in their order; a line that cannot be asked has `error`."""
    parsed: list[Probe | InputError] = [_parsed(line) for line in lines]
    outcomes = iter(await lab.probe([probe for probe in parsed if isinstance(probe, Probe)]))
    found = []
    for line, probe in zip(lines, parsed, strict=True):
        outcome = next(outcomes) if isinstance(probe, Probe) else probe
        kept = {"id": line["id"]} if "id" in line else {}
        found.append(outcome.facts() if isinstance(outcome, Outcome) else kept | {"error": str(outcome)})
    return found


def _parsed(line: dict[str, Any]) -> Probe | InputError:
    try:
        return parse(line)
    except InputError as error:
        return error
