"""Follows one kind for ever: the whole list, then every change, and the list again when changes were missed.

The list comes as a stream where the server has that (KEP-3157), otherwise in pages of one version. A stream that ends
is taken up where it ended; one that has forgotten where that was (410, as a status or in the stream) means a new list,
which is compared with what is held. Failures are said and tried again for ever; only a bug ends it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from vallum.model.snapshot import Event
from vallum.model.uncollected import uncollected
from vallum.sources.kube import wire
from vallum.sources.kube.backoff import Backoff
from vallum.sources.kube.errors import ApiError, SilentError, UnreachableError
from vallum.sources.kube.held import Held
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.kinds import Door, Kind, Page

if TYPE_CHECKING:
    from vallum.sources.kube.client import Client

LIMIT = 500
"""Objects a page: some milliseconds of decoding, in which nothing else runs."""
SHORTEST, LONGEST, MARGIN = 240, 300, 15
"""Seconds that a watch is asked for, drawn anew each time, and how much later we end one that the server forgot."""
INITIAL_SILENCE = 30.0
"""Seconds without a byte after which a list is no longer expected as a stream."""
SETTLED = 5.0
"""Seconds after which a watch that gave nothing still counts as one that works."""
_EXPIRED = 410
_NO_STREAM = (400, 422)
_END = "k8s.io/initial-events-end"
_OBJECTS = {"ADDED", "MODIFIED", "DELETED"}

_event = msgspec.json.Decoder(wire.WatchEvent).decode
_bookmark = msgspec.json.Decoder(wire.Bookmark).decode
_status = msgspec.json.Decoder(wire.Status).decode


class Sink(Protocol):
    """Who wants to know."""

    def changed(self, kind: Kind, held: Held, version: str, events: list[Event]) -> None:
        """The kind has been listed, and stands at this version after these events."""

    def failed(self, kind: Kind, problem: str, *, sure: bool) -> None:
        """The kind cannot be followed just now. Not `sure`: the next try may show that it was nothing."""

    def followed(self, kind: Kind) -> None:
        """The kind is followed (again)."""


class Bell:
    """Rung by whoever reaches the API, so that the others, who wait for it, need not wait any longer."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """The API is there."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """So long, or until somebody rings."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()


@dataclass(frozen=True, slots=True)
class Common:
    """What all reflectors of a source share.

    Attributes:
        chance: gives numbers from 0 to 1; tests bring their own.
        streams: ask for lists as streams, until the server declines.
        hurry: but the first list in pages.
    """

    client: "Client"
    sink: Sink
    chance: Callable[[], float]
    streams: bool = True
    hurry: bool = False
    interned: Interned = field(default_factory=Interned)
    bell: Bell = field(default_factory=Bell)


class Reflector:
    """One kind. `run` never returns."""

    def __init__(self, common: Common, kind: Kind, node: str) -> None:
        self._common = common
        self._client = common.client
        self._kind = kind
        self._door = Door(kind, common.interned, node)
        self._backoff = Backoff(common.chance)
        self._held = Held(kind.name)
        self._version: str | None = None
        self._streams = common.streams
        self._hurry = common.hurry
        self._limit = LIMIT
        self._spent: set[str] = set()
        self._doubtful = False

    async def run(self) -> NoReturn:
        """Follow the kind until cancelled."""
        while True:
            try:
                if self._version is None and (self._hurry or not self._streams):
                    await self._list()
                await self._follow()
            except ApiError as error:
                self._common.sink.failed(self._kind, self._said(error), sure=True)
                await asyncio.sleep(self._backoff.wait(error.retry_after or 0.0))
            except (UnreachableError, msgspec.DecodeError) as error:
                problem = str(error)
                if isinstance(error, msgspec.DecodeError):
                    problem = f"{self._client.server}: what it sends is no answer of an API server: {error}"
                self._common.sink.failed(self._kind, problem, sure=self._backoff.failures > 0)
                await self._common.bell.wait(self._backoff.wait())

    async def _follow(self) -> None:
        """One stream, from the version that is held or with a list at its head, to its end."""
        seconds = SHORTEST + round(self._common.chance() * (LONGEST - SHORTEST))
        watch = _Watch(self._version is None, seconds, asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(seconds + MARGIN):
                await self._watch(watch)
        except TimeoutError:
            pass  # the server forgot to end it
        except (ApiError, UnreachableError) as error:
            if watch.initial and _no_list(error, watch):
                self._streams = False
            elif not self._spared(error, watch):
                raise
            return
        self._ended(watch)

    def _ended(self, watch: "_Watch") -> None:
        """A stream came to its end. Raises UnreachableError where it was none."""
        lasted = asyncio.get_running_loop().time() - watch.began
        if watch.initial:
            self._streams = False
        elif watch.heard:
            self._fine()
        elif lasted >= SETTLED:
            self._fine()
            if lasted >= SHORTEST:
                # Not even a bookmark: it may be waiting for a version that never comes (etcd restored from a backup).
                self._version = None
        else:
            self._doubtful = True
            raise UnreachableError(f"{self._client.server}: ends every watch at once")

    def _spared(self, error: ApiError | UnreachableError, watch: "_Watch") -> bool:
        """Reports whether to go on at once: streams are cut and versions expire every day, but not again and again."""
        if isinstance(error, ApiError):
            if error.code != _EXPIRED:
                self._doubtful = watch.opened
                return False
            self._version = None
        elif not watch.opened:
            return False
        sort = type(error).__name__
        first = sort not in self._spent
        self._spent.add(sort)
        return first

    def _fine(self) -> None:
        if self._backoff.failures:
            self._common.bell.ring()
        self._backoff.reset()
        self._spent.clear()
        self._doubtful = False
        self._common.sink.followed(self._kind)

    def _said(self, error: ApiError) -> str:
        text = error.message or error.reason or f"HTTP {error.code}"
        if error.code == 403:
            return f"{text}; we need list and watch of {self._kind.resource}, see deploy/rbac.yaml"
        return text if error.code == 401 else f"{self._client.server}: {text} ({error.code} {error.reason})".rstrip()

    # The list in pages

    async def _list(self) -> None:
        """All pages of one version. The next one is on its way while this one is read."""
        fresh = Held(self._kind.name)
        page = await self._page("")
        version = page.version
        while True:
            following = asyncio.create_task(self._page(page.more)) if page.more else None
            try:
                await asyncio.sleep(0)  # let the request out before we keep the processor
                with uncollected():
                    fresh.renewed(page.objects(), self._held)
                if following is None:
                    break
                page = await following
            except ApiError as error:
                if error.code == _EXPIRED:  # the pages of this version are gone: one answer has one version, too
                    self._limit = 0
                raise
            finally:
                if following:
                    following.cancel()
        self._limit = LIMIT
        self._listed(fresh, version)

    async def _page(self, more: str) -> Page:
        params = {"limit": str(self._limit)} if self._limit else {}
        data = await self._client.fetch(self._kind.path, params | ({"continue": more} if more else {}))
        with uncollected():
            return self._door.page(data)

    def _listed(self, fresh: Held, version: str) -> None:
        older, self._held, self._version, self._hurry = self._held, fresh, version, False
        self._common.sink.changed(self._kind, fresh, version, list(fresh.since(older)))

    # The stream

    async def _watch(self, watch: "_Watch") -> None:
        silence = INITIAL_SILENCE if watch.initial else float(watch.seconds + MARGIN)
        fresh = Held(self._kind.name) if watch.initial else self._held
        async with self._client.stream(self._kind.path, watch.params(self._version), silence) as more:
            watch.opened = True
            if not self._doubtful and not watch.initial:
                self._common.sink.followed(self._kind)
            rest = b""
            while chunk := await more():
                *lines, rest = (rest + chunk).split(b"\n")
                with uncollected():
                    self._take(lines, fresh, watch)

    def _take(self, lines: list[bytes], fresh: Held, watch: "_Watch") -> None:
        """Everything that came at once."""
        events: list[Event] = []
        try:
            for line in filter(None, lines):
                found = _event(line)
                if found.type in _OBJECTS:
                    self._object(found, fresh, watch, events)
                elif found.type == "BOOKMARK":
                    self._bookmark(found, fresh, watch)
                elif found.type == "ERROR":
                    raise _refusal(found.object)
        finally:
            if watch.heard:
                self._fine()
                self._common.sink.changed(self._kind, self._held, self._version or "", events)

    def _object(self, found: wire.WatchEvent, fresh: Held, watch: "_Watch", events: list[Event]) -> None:
        read = self._door.one(found.object)
        if watch.initial and found.type != "DELETED":
            fresh.renewed(iter((read,)), self._held)
            return
        event = fresh.gone(read) if found.type == "DELETED" else fresh.put(read)
        if not watch.initial:
            watch.heard = True
            self._version = read.version or self._version
            if event:
                events.append(event)

    def _bookmark(self, found: wire.WatchEvent, fresh: Held, watch: "_Watch") -> None:
        meta = _bookmark(found.object).meta
        if watch.initial and _END in (meta.annotations or {}):
            watch.initial = False
            self._listed(fresh, meta.version)
        elif not watch.initial:
            self._version = meta.version or self._version
        watch.heard = not watch.initial


@dataclass(slots=True)
class _Watch:
    """One stream. `initial`: the list is still coming; `heard`: it gave a change or a bookmark."""

    initial: bool
    seconds: int
    began: float
    opened: bool = False
    heard: bool = False

    def params(self, version: str | None) -> dict[str, str]:
        """The query. Without a version the list comes first, the newest there is."""
        asked = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(self.seconds)}
        if version is None:
            return asked | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return asked | {"resourceVersion": version}


def _no_list(error: ApiError | UnreachableError, watch: _Watch) -> bool:
    """Reports whether this says that the server gives no list as a stream, and not that it cannot just now."""
    if isinstance(error, ApiError):
        return watch.opened or error.code in _NO_STREAM
    return isinstance(error, SilentError)


def _refusal(raw: msgspec.Raw) -> ApiError:
    status = _status(raw)
    after = status.details.retry_after if status.details else None
    return ApiError(status.code, status.reason, status.message, None if after is None else float(after))
