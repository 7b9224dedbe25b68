"""`/healthz` and `/readyz` for a kubelet or load balancer. Ready = the kernel holds the Ruleset of the latest world.

By hand, one request a connection: a whole web server would take longer to import than the first world to enforce. What
it ignores: everything in a request but its first line.
"""

import asyncio
from collections.abc import Callable

_PATIENCE = 10.0
"""Seconds that a request may take to come."""
_LINE = 1 << 13
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def serve(address: str, port: int, unready: Callable[[], str | None]) -> asyncio.Server:
    """Start listening; `close()` ends it. Raises OSError where the port is taken.

    `unready` tells why the node is not ready, None when it is.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                method, path = _asked(await reader.readuntil(b"\r\n\r\n"))
                writer.write(_answer(method, path, unready()))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked does not want to know
        finally:
            writer.close()

    return await asyncio.start_server(answer, address, port, limit=_LINE)


def _asked(head: bytes) -> tuple[str, str]:
    """Method and path of a request, empty where it is none."""
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    return (words[0], words[1].partition("?")[0]) if len(words) == 3 else ("", "")


def _answer(method: str, path: str, reason: str | None) -> bytes:
    match method, path:
        case "GET" | "HEAD", "/healthz":
            code, text = 200, "ok"
        case "GET" | "HEAD", "/readyz":
            code, text = (503, reason) if reason else (200, "ok")
        case "GET" | "HEAD", _:
            code, text = 404, "ask /healthz or /readyz"
        case _:
            code, text = 405, "GET only"
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\n" + ("Allow: GET, HEAD\r\n" if code == 405 else "") + "\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)
