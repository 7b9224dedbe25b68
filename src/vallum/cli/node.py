"""Questions about a live node instead of files: `--node`, and the world that its agent enforces."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from vallum.agent.ask import ask, ask_lines
from vallum.cli.world import api_option, file_option, load
from vallum.model.errors import InputError, InputErrors
from vallum.sources.manifest import read_manifest
from vallum.sources.world import World, assemble

SOCKET = Path("/run/vallum/agent.sock")
Command = TypeVar("Command", bound=Callable[..., Any])

node_option = click.option("--node", is_flag=True, help="Ask the agent of this node instead of files.")
socket_option = click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help=f"Where that agent answers, if not at {SOCKET}; implies --node.",
)


def world_options(command: Command) -> Command:
    """`-f` with `--api`, or `--node` with `--socket`."""
    for option in (socket_option, node_option, api_option, file_option):
        command = option(command)
    return command


def socket_of(path: str | None, socket: Path | None, *, node: bool) -> Path | None:
    """The socket to ask, None for files. Raises InputError where it is not said, or both."""
    live = node or socket is not None
    if live == (path is not None):
        wrong = "both a folder and a node are named" if live else "no world is named"
        raise InputError("", f"{wrong}; give -f DIR, or --node for what the agent of this node enforces")
    return (socket or SOCKET) if live else None


def chosen_world(path: str | None, api: str | None, socket: Path | None, *, node: bool) -> World:
    """The world of the folder, or of the node."""
    live = socket_of(path, socket, node=node)
    return live_world(live) if live else load(path or "", api)


def live_world(socket: Path) -> World:
    """What the agent behind this socket enforces, read as strictly as files. Raises InputError where it has nothing."""
    lines = _answered(socket, {"op": "world"})
    head = _checked(socket, next(lines, b""))
    bodies = list(islice(lines, head["objects"]))  # exactly: the agent would listen on
    if len(bodies) < head["objects"]:
        raise InputError(str(socket), "the agent ended before it had told its world; ask again")
    manifest = read_manifest(str(socket), b"---\n".join(bodies))
    if manifest.errors:
        raise InputErrors(manifest.errors)
    return assemble([manifest], head["revision"])


def ask_node(socket: Path, request: dict[str, Any]) -> dict[str, Any]:
    """One answer of the agent. Raises InputError where nobody answers, or with what the agent says is wrong."""
    try:
        found = ask(socket, request)
    except OSError as error:
        raise _silent(socket, error) from error
    return _refused(socket, found)


def _answered(socket: Path, request: dict[str, Any]) -> Iterator[bytes]:
    try:
        yield from ask_lines(socket, request)
    except OSError as error:
        raise _silent(socket, error) from error


def _silent(socket: Path, error: OSError) -> InputError:
    return InputError(str(socket), f"no agent answers here ({error.strerror}); is one running?")


def _checked(socket: Path, line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(line) if line else {}
    return _refused(socket, found)


def _refused(socket: Path, found: dict[str, Any]) -> dict[str, Any]:
    if not found:
        raise InputError(str(socket), "the agent ended before it answered; ask again")
    if "error" in found:
        raise InputError("", str(found["error"]))
    return found
