"""HTTP to the API: one request at a time to one of several endpoints, with credentials that may change meanwhile.

An endpoint that gives no answer is left for the next one; only when none answers is that an error. A 401 is asked
again once with credentials read anew. What the API refuses is an `ApiError` with its words. When to try again is for
the caller to say.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from vallum import __version__
from vallum.sources.kube import wire
from vallum.sources.kube.access import Access, in_cluster
from vallum.sources.kube.credentials import Tls, Token
from vallum.sources.kube.errors import ApiError, SilentError, UnreachableError
from vallum.sources.kube.faults import fault, refused
from vallum.sources.kube.unbundled import aiohttp

__all__ = ["Access", "ApiError", "Client", "UnreachableError", "in_cluster"]

MERGE_PATCH = "application/merge-patch+json"
_JSON = "application/json"
_CONNECT, _READ = 10.0, 60.0
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
_ELSEWHERE = (502, 503)
"""This endpoint cannot, another may."""
_FAREWELL = 0.1
"""Seconds for TLS connections to end, in turns of the loop that nobody waits for (aiohttp, graceful shutdown)."""
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that vanished without a word is noticed after half a minute."""

_status = msgspec.json.Decoder(wire.Status).decode


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    form: str = _JSON
    silence: float = _READ

    @property
    def repeatable(self) -> bool:
        """Reports whether it may be sent again when nobody knows whether it arrived."""
        return self.method != "POST"


class Client:
    """An async context manager; inside of it requests may be made, many at once."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._token = Token(access)
        self._tls = Tls(access)
        self._at = 0
        self._session: aiohttp.ClientSession | None = None

    @property
    def server(self) -> str:
        """The endpoint in use."""
        return self._access.servers[self._at]

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"vallum/{__version__}", "Accept": _JSON},
            auto_decompress=True,
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()
            if any(server.startswith("https:") for server in self._access.servers):
                await asyncio.sleep(_FAREWELL)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The decoded answer. Raises ApiError and UnreachableError, as all of these do."""
        return msgspec.json.decode(await self.fetch(path, params))

    async def create(self, path: str, body: Any, params: Mapping[str, str] | None = None) -> Any:
        """POST. It is not sent twice when an answer is lost."""
        return await self._write("POST", path, body, params, _JSON)

    async def replace(self, path: str, body: Any, params: Mapping[str, str] | None = None) -> Any:
        """PUT. With the resourceVersion in the body it fails with code 409 where somebody else was faster."""
        return await self._write("PUT", path, body, params, _JSON)

    async def patch(
        self, path: str, body: Any, form: str = MERGE_PATCH, params: Mapping[str, str] | None = None
    ) -> Any:
        """PATCH, a merge patch unless `form` says otherwise."""
        return await self._write("PATCH", path, body, params, form)

    async def delete(self, path: str, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """DELETE. The body has options, such as preconditions; one that is not met is code 409."""
        sent = None if body is None else msgspec.json.encode(body)
        return msgspec.json.decode(await self._whole(_Request("DELETE", path, params or {}, sent)))

    async def fetch(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        """The answer as it came."""
        return await self._whole(_Request("GET", path, params or {}))

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], silence: float
    ) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        """The answer bit by bit: what is called gives what came, and nothing at the end.

        It raises SilentError after `silence` seconds of nothing.
        """
        response = await self._send(_Request("GET", path, params, silence=silence))

        async def more() -> bytes:
            try:
                return await response.content.readany()
            except TimeoutError as error:
                raise SilentError(f"{self.server}: nothing came for {silence:.0f} s") from error
            except _FAILURES as error:
                raise UnreachableError(await fault(self.server, error, self._access, self._tls)) from error

        try:
            yield more
        finally:
            _abort(response)

    async def _write(self, method: str, path: str, body: Any, params: Mapping[str, str] | None, form: str) -> Any:
        request = _Request(method, path, params or {}, msgspec.json.encode(body), form)
        return msgspec.json.decode(await self._whole(request))

    async def _whole(self, request: _Request) -> bytes:
        response = await self._send(request)
        try:
            return await response.read()
        except _FAILURES as error:
            raise UnreachableError(await fault(self.server, error, self._access, self._tls)) from error
        finally:
            response.release()

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        try:
            return await self._any(request)
        except ApiError as error:
            if error.code != 401:
                raise
        self._token.forget()
        self._tls.forget()
        try:
            return await self._any(request)
        except ApiError as error:
            raise refused(error, self._access, self._tls, self._token) if error.code == 401 else error from None

    async def _any(self, request: _Request) -> aiohttp.ClientResponse:
        """The answer of the first endpoint that has one."""
        faults: list[str] = []
        last: ApiError | None = None
        for _ in self._access.servers:
            at = self._at
            try:
                return await self._ask(self.server, request)
            except ApiError as error:
                if error.code not in _ELSEWHERE or len(self._access.servers) == 1:
                    raise
                last = error
            except _FAILURES as error:
                faults.append(await fault(self._access.servers[at], error, self._access, self._tls))
                self._tls.forget()
                if not (request.repeatable or isinstance(error, aiohttp.ClientConnectorError)):
                    raise UnreachableError(faults[-1]) from error
            if self._at == at:  # several requests may have failed at once: one step for all of them
                self._at = (at + 1) % len(self._access.servers)
        raise last or UnreachableError("; ".join(faults))

    async def _ask(self, server: str, request: _Request) -> aiohttp.ClientResponse:
        assert self._session, "used outside of `async with`"
        token = self._token.text()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Content-Type": request.form} if request.body is not None else {}
        response = await self._session.request(
            request.method,
            f"{server}{request.path}",
            params=request.params,
            data=request.body,
            headers=headers,
            ssl=self._tls.context() if server.startswith("https:") else True,
            server_hostname=self._access.server_name if server.startswith("https:") else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=request.silence),
        )
        if response.status >= 300:
            try:
                raise _refusal(response, await response.read())
            finally:
                response.release()
        _keep_alive(response)
        return response


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    connection = response.connection
    found = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        for level, name, value in _KEEP_ALIVE:
            found.setsockopt(level, name, value)


def _abort(response: aiohttp.ClientResponse) -> None:
    """End a stream in the middle. A polite end of TLS would outlive whoever closes the client and goes."""
    connection = response.connection
    if connection and connection.transport:
        connection.transport.abort()
    response.close()


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    """The error that an answer stands for: the API's own Status, or whatever a proxy wrote."""
    try:
        status = _status(body)
    except msgspec.DecodeError:
        status = wire.Status(message=body.decode(errors="replace").strip()[:200])
    after = response.headers.get("Retry-After", "")
    seconds = float(after) if after.isdecimal() else None
    if seconds is None and status.details and status.details.retry_after is not None:
        seconds = float(status.details.retry_after)
    message = status.message or f"HTTP {response.status} {response.reason}"
    return ApiError(response.status, status.reason, message, seconds)
