"""The whole world of an API as batches: the first when every kind has been listed, later ones as changes come.

Changes that came together go out together, the last word on each object; nothing is held back to wait for more. Half a
world would open or close what the whole one does not, so there is no batch before all kinds stand. What is wrong
is told as `Trouble` and changes nothing in the world: whoever enforces goes on with what it has.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vallum.model.snapshot import Batch, Event, Key, Put, key_of
from vallum.sources.kube.held import Held
from vallum.sources.kube.kinds import KINDS, POLICIES, Kind
from vallum.sources.kube.reflector import Common, Reflector
from vallum.sources.kube.trouble import Trouble

if TYPE_CHECKING:
    from vallum.sources.kube.client import Client

__all__ = ["Trouble", "watch"]

_SAID_MOST = 100


async def watch(
    client: "Client",
    node: str,
    *,
    kinds: tuple[Kind, ...] = KINDS,
    streams: bool = True,
    hurry: bool = False,
    chance: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Batch | Trouble, None]:
    """The world, its changes, and what is wrong with following it. Ends only by being closed or cancelled.

    `Batch.revision` is the newest resourceVersion of NetworkPolicies that is known; it may move without any event, when
    what changed is nothing that we read. Pods of `node` have their `uid`. `Trouble` comes when it changes, first the
    problem and in the end one with an empty text.

    Args:
        client: the API, entered already.
        node: our own.
        kinds: those to follow.
        streams: ask for lists as streams where the server has that, otherwise in pages.
        hurry: the first list in pages all the same. They come compressed, in a third less time (`bench coldstart`); a
            stream costs the server less memory, which counts when all nodes list anew at once.
        chance: gives numbers from 0 to 1.
        clock: the time of day.
    """
    gathered = _Gathered(kinds, clock)
    common = Common(client, gathered, chance, streams, hurry)
    tasks = [asyncio.create_task(Reflector(common, kind, node).run(), name=kind.resource) for kind in kinds]
    for task in tasks:
        task.add_done_callback(lambda _: gathered.ready.set())
    try:
        while True:
            await gathered.ready.wait()
            for task in tasks:
                if task.done():
                    task.result()  # a reflector ends by a bug only
            for found in gathered.taken():
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Fault:
    text: str
    since: float
    sure: bool


class _Gathered:
    """What the reflectors brought and nobody took yet."""

    def __init__(self, kinds: tuple[Kind, ...], clock: Callable[[], float]) -> None:
        self.ready = asyncio.Event()
        self._clock = clock
        self._kinds = kinds
        self._missing = set(kinds)
        self._pending: dict[Key, Event] = {}
        self._revision = self._told = ""
        self._faults: dict[Kind, _Fault] = {}
        self._held: dict[Kind, Held] = {}
        self._trouble = Trouble("")

    def changed(self, kind: Kind, held: Held, version: str, events: list[Event]) -> None:
        """As in `Sink`."""
        self._missing.discard(kind)
        self._held[kind] = held
        if kind is POLICIES:
            self._revision = version
        for event in events:
            self._pending[_key(event)] = event
        self.ready.set()

    def failed(self, kind: Kind, problem: str, *, sure: bool) -> None:
        """As in `Sink`. The time of the first failure stays while the words change."""
        known = self._faults.get(kind)
        self._faults[kind] = _Fault(problem, known.since if known else self._clock(), sure)
        self.ready.set()

    def followed(self, kind: Kind) -> None:
        """As in `Sink`."""
        if self._faults.pop(kind, None):
            self.ready.set()

    def taken(self) -> Iterator[Batch | Trouble]:
        """What is new, and from now on known."""
        self.ready.clear()
        if not self._missing and (self._pending or self._revision != self._told):
            events, self._pending, self._told = tuple(self._pending.values()), {}, self._revision
            yield Batch(events, self._revision)
        trouble = self._now()
        if trouble != self._trouble:
            self._trouble = trouble
            yield trouble

    def _now(self) -> Trouble:
        objects = tuple(self._objects())
        sure = {kind: fault for kind, fault in self._faults.items() if fault.sure}
        if not sure:
            return Trouble("", None, objects)
        by_text: dict[str, list[str]] = {}
        for kind, fault in sure.items():
            by_text.setdefault(fault.text, []).append(kind.resource)
        everything = len(by_text) == 1 and len(sure) == len(self._kinds)
        lines = (text if everything else f"{', '.join(sorted(names))}: {text}" for text, names in by_text.items())
        since = min(fault.since for fault in sure.values())
        return Trouble("\n".join(sorted(lines)), _written(since), objects)

    def _objects(self) -> Iterator[str]:
        found = [
            f"{kind.resource} {'/'.join(filter(None, name))}: {'; '.join(problems)}"
            for kind in self._kinds
            if kind in self._held
            for name, problems in self._held[kind].problems.items()
        ]
        yield from sorted(found)[:_SAID_MOST]
        if len(found) > _SAID_MOST:
            yield f"and {len(found) - _SAID_MOST} more"


def _key(event: Event) -> Key:
    if not isinstance(event, Put):
        return event.key
    own: Key | None = getattr(event.thing, "key", None)  # what is none of the world's names itself
    return own or key_of(event.thing)


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
