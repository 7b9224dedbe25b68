"""One question to a local socket of ours: a JSON object a line there and back (docs/formats.md). Plain and blocking."""

import socket
from pathlib import Path
from typing import Any

import msgspec


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer, empty when the other side ended without one. Raises OSError where nobody listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(msgspec.json.encode(request) + b"\n")
        answer = b""
        while part := sock.recv(1 << 20):
            answer += part
            if part.endswith(b"\n"):
                break
    found: dict[str, Any] = msgspec.json.decode(answer) if answer else {}
    return found
