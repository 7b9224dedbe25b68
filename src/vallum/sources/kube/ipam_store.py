"""The shared store: records as objects of the API, each written over the revision that was read. Implements
`ipam.store.Store`, for whoever changes what belongs to all hosts.

Every decision is made on lists that were read just before. What an agent does for its own node is `ipam_host`, which
hardly ever asks. Objects are written one by one: a change of several that meets a faster writer half way is taken back
and decided again; only who is cut off in that moment leaves a part of it, which the next decision sees.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace

from vallum.ipam.records import Change, Key, Record, key_of
from vallum.ipam.state import State
from vallum.ipam.store import Decision, Result
from vallum.model.errors import KernelError
from vallum.sources.kube.backoff import Backoff
from vallum.sources.kube.ipam_api import ConflictError
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_forms import Stored

TRIES = 12
"""How often somebody else may be faster."""


class KubeStore:
    """Implements `ipam.store.Store`.

    Args:
        remote: the API.
        clock: the time of day, in which freed addresses are noted: it is the only clock that hosts share.
        sleep: waits between two tries.
    """

    def __init__(
        self, remote: Remote, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._remote = remote
        self._clock = clock
        self._sleep = sleep
        self._names: dict[Key, str] = {}
        self._state = State()

    def state(self) -> State:
        """See `Store`."""
        found = self._remote.everything()
        self._names = {key_of(each.record): each.name for each in found}
        revision = max((each.record.revision for each in found), default=0)
        self._state = State((each.record for each in found), revision)
        return self._state

    def commit(self, decide: Decision[Result]) -> Result:
        """See `Store`."""
        backoff = Backoff(random.random)
        for _ in range(TRIES):
            change, result = decide(self.state())
            try:
                self._write(change)
            except ConflictError as error:
                last = error
                self._sleep(backoff.wait())
            else:
                return result
        raise KernelError(f"{last}, {TRIES} times one after the other; nothing was kept, try again")

    def now(self) -> float:
        """See `Store`: the time of day, and never before anything that is noted."""
        freed = (at for block in self._state.blocks.values() for at in block.freed.values())
        return max(self._clock(), max(freed, default=0.0))

    def _write(self, change: Change) -> None:
        done: list[tuple[Record | None, Stored | None]] = []
        try:
            for record in change.puts:
                before = self._state.find(key_of(record))
                done.append((before, self._remote.put(record, self._name(record))))
            for record in change.gone:
                self._remote.remove(record, self._name(record))
                done.append((record, None))
        except (ConflictError, KernelError):
            self._take_back(done)
            raise

    def _take_back(self, done: list[tuple[Record | None, Stored | None]]) -> None:
        for before, after in reversed(done):
            try:
                if before is None and after is not None:
                    self._remote.remove(after.record, after.name)
                elif before is not None:
                    revision = after.record.revision if after else 0
                    self._remote.put(replace(before, revision=revision), self._name(before))
            except (ConflictError, AwayError):
                continue  # whoever wrote there since has seen it

    def _name(self, record: Record) -> str:
        return self._names.get(key_of(record), "")
