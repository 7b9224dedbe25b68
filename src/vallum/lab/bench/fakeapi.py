"""A small API server for tests and benches: lists in pages, watches with bookmarks, versions, compaction, and writes.

It gives the exact forms that a client meets (Kubernetes 1.34 with etcd 3.6), written by hand on asyncio streams.
Objects are kept as bytes, so that a hundred thousand of them are served as fast as they can be read. What it ignores:
whether objects make sense, field and label selectors, and everything that a test can script with `rule`.
"""

import asyncio
import contextlib
import json
import ssl
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Name = tuple[str, str]
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}
_REASONS |= {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
_BOOKMARK_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def watches(self) -> bool:
        """Reports whether a stream is asked for."""
        return self.params.get("watch") in ("1", "true")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered instead. `status` 0 closes the connection without a word, -1 leaves it open without one."""

    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()


CLOSE, HANG = Answer(0), Answer(-1)


def status(code: int, message: str, headers: tuple[str, ...] = (), **more: Any) -> Answer:
    """The API's own way to refuse."""
    return Answer(code, json.dumps(status_body(code, message) | more).encode(), headers)


def status_body(code: int, message: str) -> dict[str, Any]:
    """A Status object."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "Unknown"),
        "code": code,
    }


@dataclass(slots=True)
class _Change:
    version: int
    path: str
    type: str
    data: bytes


@dataclass(slots=True)
class FakeApi:
    """The server. `url` is known once it is started.

    Attributes:
        streams: how a list as a stream is answered: `yes`, `refused` (422), `error` (an ERROR event), `ignored` (a
            stream without an end of the list, as of a server that never heard of it).
        rule: answers a request instead, where it gives an answer.
        requests: all that were made.
    """

    streams: str = "yes"
    rule: Callable[[Request], Answer | None] = lambda _: None
    bookmarks: bool = True
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    version: int = 100
    compacted: int = 0
    _kinds: dict[str, dict[Name, bytes]] = field(default_factory=dict)
    _changes: list[_Change] = field(default_factory=list)
    _lists: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    # What is in it

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object; tells every watch. Returns it with its version."""
        meta = body["metadata"]
        name = (meta.get("namespace", ""), meta["name"])
        self.version += 1
        body = {**body, "metadata": {**meta, "resourceVersion": str(self.version)}}
        known = self._kinds.setdefault(path, {})
        self._tell(path, "MODIFIED" if name in known else "ADDED", data := json.dumps(body).encode())
        known[name] = data
        return body

    def delete(self, path: str, name: str, namespace: str = "") -> bool:
        """Remove an object; tells every watch. Reports whether it was there."""
        known = self._kinds.setdefault(path, {}).pop((namespace, name), None)
        if known is None:
            return False
        self.version += 1
        body = json.loads(known)
        body["metadata"]["resourceVersion"] = str(self.version)
        self._tell(path, "DELETED", json.dumps(body).encode())
        return True

    def load(self, path: str, objects: Iterable[tuple[Name, bytes]]) -> None:
        """Objects as they are, told to nobody: how a large cluster gets in."""
        self._kinds.setdefault(path, {}).update(objects)

    def objects(self, path: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return [json.loads(data) for _, data in sorted(self._kinds.get(path, {}).items())]

    def compact(self) -> None:
        """Forget the past: watches and lists of older versions get 410."""
        self.compacted = self.version
        self._changes.clear()
        self._lists.clear()

    def _tell(self, path: str, what: str, data: bytes) -> None:
        self._changes.append(_Change(self.version, path, what, data))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # Coming and going

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen on this machine."""
        self._server = await asyncio.start_server(self._client, "127.0.0.1", port, ssl=tls, limit=1 << 20)
        found = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{found}"

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server:
            self._server.close()
        self.cut()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def restart(self) -> None:
        """The same again, on the same port; connections are cut."""
        port = int(self.url.rpartition(":")[2])
        await self.stop()
        await self.start(port)

    def cut(self) -> None:
        """Reset every connection in the middle of whatever it carries."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    # Speaking HTTP

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while request := await _request(reader):
                self.requests.append(request)
                if not await self._serve(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Reports whether the connection can be used on."""
        answer = self.rule(request)
        if answer is None and self.streams == "refused" and "sendInitialEvents" in request.params:
            answer = status(
                422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            )
        if answer is None and request.watches:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.params.get("timeoutSeconds", "300"))):
                    async for data in self._stream(request):
                        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                        await writer.drain()
            writer.write(b"0\r\n\r\n")
            return True
        answer = answer or self._answer(request)
        if answer == CLOSE:
            return False
        if answer == HANG:
            await reader.read()  # until the client goes
            return False
        head = [f"HTTP/1.1 {answer.status} -", "Content-Type: application/json", *answer.headers]
        head.append(f"Content-Length: {len(answer.body)}")
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        writer.write(answer.body)
        await writer.drain()
        return True

    # Watches

    async def _stream(self, request: Request) -> AsyncIterator[bytes]:
        """A watch from a version, or with everything first."""
        params, at = request.params, self.version
        if "sendInitialEvents" in params and self.streams != "ignored":
            if self.streams == "error":
                yield _event("ERROR", json.dumps(status_body(500, "RequestWatchProgress is disabled")).encode())
                return
            for data in self._everything(request.path):
                yield data
            yield self._bookmark(at, {"k8s.io/initial-events-end": "true"})
        elif params.get("resourceVersion", "") not in ("", "0"):
            at = int(params["resourceVersion"])
        else:
            for data in self._everything(request.path):
                yield data
        async for data in self._since(request, at):
            yield data

    def _everything(self, path: str) -> Iterable[bytes]:
        found = [_event("ADDED", data) for _, data in sorted(self._kinds.get(path, {}).items())]
        return [b"".join(found[start : start + 20]) for start in range(0, len(found), 20)]

    async def _since(self, request: Request, at: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        due = loop.time() + _BOOKMARK_EVERY
        while True:
            if at < self.compacted:
                message = f"too old resource version: {at} ({self.compacted})"
                yield _event("ERROR", json.dumps(status_body(410, message)).encode())
                return
            news, start = self._news, bisect_right(self._changes, at, key=lambda change: change.version)
            found = [_event(each.type, each.data) for each in self._changes[start:] if each.path == request.path]
            at = max(at, self.version) if start < len(self._changes) else at
            if found:
                yield b"".join(found)
                continue
            if at > self.version or not self.bookmarks or request.params.get("allowWatchBookmarks") != "true":
                await news.wait()  # from a version that is still to come, there is only silence
                continue
            try:
                async with asyncio.timeout_at(due):
                    await news.wait()
            except TimeoutError:
                due = loop.time() + _BOOKMARK_EVERY
                at = self.version
                yield self._bookmark(at)

    def _bookmark(self, version: int, annotations: dict[str, str] | None = None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        meta |= {"annotations": annotations} if annotations else {}
        return _event("BOOKMARK", json.dumps({"kind": "Thing", "apiVersion": "v1", "metadata": meta}).encode())

    # Everything else

    def _answer(self, request: Request) -> Answer:
        collection, _, name = request.path.removesuffix("/status").rpartition("/")
        if request.method == "GET" and request.path not in self._kinds and collection in self._kinds:
            return self._one(collection, name)
        match request.method:
            case "GET":
                return self._list(request)
            case "POST":
                body = json.loads(request.body)
                if self._named(request.path, body["metadata"]["name"]) is not None:
                    return status(409, f"{body['metadata']['name']} already exists")
                return Answer(201, json.dumps(self.put(request.path, body)).encode())
            case "PUT" | "PATCH":
                return self._written(request, collection, name)
            case "DELETE" if self._is_another(request, collection, name):
                return status(409, "the ResourceVersion in the precondition does not match")
            case "DELETE" if self.delete(collection, name):
                return Answer(200, json.dumps({"kind": "Status", "status": "Success"}).encode())
        return status(404, f"{request.path} not found")

    def _is_another(self, request: Request, collection: str, name: str) -> bool:
        """Reports whether a precondition names another version than is there."""
        asked = json.loads(request.body or b"{}").get("preconditions", {}).get("resourceVersion")
        known = self._named(collection, name)
        return None not in (asked, known) and known["metadata"]["resourceVersion"] != asked  # type: ignore[index]

    def _one(self, collection: str, name: str) -> Answer:
        found = self._named(collection, name)
        return status(404, f"{name} not found") if found is None else Answer(200, json.dumps(found).encode())

    def _named(self, collection: str, name: str) -> dict[str, Any] | None:
        known = self._kinds.get(collection, {}).get(("", name))
        return None if known is None else json.loads(known)

    def _written(self, request: Request, collection: str, name: str) -> Answer:
        known, body = self._named(collection, name), json.loads(request.body)
        if known is None:
            return status(404, f"{name} not found")
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, known["metadata"]["resourceVersion"]):
            return status(409, "the object has been modified; please apply your changes to the latest version")
        return Answer(
            200, json.dumps(self.put(collection, merged(known, body) if request.method == "PATCH" else body)).encode()
        )

    def _list(self, request: Request) -> Answer:
        limit, token = int(request.params.get("limit", "0")), request.params.get("continue", "")
        version, start = (int(part) for part in token.split(".")) if token else (self.version, 0)
        if token and (request.path, version) not in self._lists:
            fresh = f"{self.version}.{start}"
            message = "The provided continue parameter is too old to display a consistent list result."
            return status(410, message, metadata={"continue": fresh})
        items = self._lists.get((request.path, version))
        if items is None:
            items = [data for _, data in sorted(self._kinds.get(request.path, {}).items())]
            self._lists[request.path, version] = items
        end = start + limit if limit else len(items)
        meta = {"resourceVersion": str(version), **({"continue": f"{version}.{end}"} if end < len(items) else {})}
        if end >= len(items):
            del self._lists[request.path, version]
        head = f'{{"kind":"List","apiVersion":"v1","metadata":{json.dumps(meta)},"items":['.encode()
        return Answer(200, head + b",".join(items[start:end]) + b"]}")


def merged(known: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386)."""
    found = dict(known)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            inner = found.get(key)
            found[key] = merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return found


def _event(what: str, data: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (what.encode(), data)


async def _request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in rest)}
    parts = urlsplit(target)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)
