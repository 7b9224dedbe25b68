"""One question to a local socket of ours: a JSON object a line there and back (docs/formats.md). Plain and blocking."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

_PATIENCE = 30.0
"""Seconds without a sign of life: an agent that hangs must not hang whoever asks it."""


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer, empty when the other side ended without one. Raises OSError where nobody listens."""
    first = next(ask_lines(path, request), b"")
    found: dict[str, Any] = msgspec.json.decode(first) if first else {}
    return found


def ask_lines(path: Path, request: dict[str, Any]) -> Iterator[bytes]:
    """The lines of the answer as they come. Who asks knows how many there are: the other side goes on listening."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(str(path))
        sock.sendall(msgspec.json.encode(request) + b"\n")
        with sock.makefile("rb") as lines:
            yield from lines
