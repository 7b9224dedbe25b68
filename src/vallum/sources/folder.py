"""A world from a folder (or file, or stdin): read once, or watched so that each edit becomes a batch of events.

Re-reads the whole folder on any change, keeping what it understood of files that stayed the same: what is
yielded depends on what is on disk, never on which events led there. A reading with errors is yielded as such,
and the last good world stays the base of the next difference.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import blake2b

from vallum.model.errors import InputError, InputErrors
from vallum.model.snapshot import Batch, Snapshot
from vallum.model.uncollected import uncollected
from vallum.sources.eyes import Eyes
from vallum.sources.files import STDIN, File, MissingError, MovedError, read_files
from vallum.sources.manifest import Document, Manifest, manifest_of
from vallum.sources.world import World, assemble, events, snapshot

__all__ = ["Document", "World", "events", "read_world", "snapshot", "watch"]

_TRIES = 10


def read_world(path: str | os.PathLike[str], api: str | None = None) -> World:
    """Read a folder, a file, or `-` for stdin. Raises InputErrors with all that is wrong.

    `api` 2016: old policies have the meaning of that time (`policy.legacy`), whether or not the world shows it.
    """
    outcome = _Reader(os.fspath(path), api).read()
    if isinstance(outcome, InputErrors):
        raise outcome
    return outcome


async def watch(path: str | os.PathLike[str]) -> AsyncIterator[Batch | InputErrors]:
    """The whole world, then a batch for each change; errors as values. Stdin is read once and ends.

    Raises KernelError where the kernel gives no more inotify instances or watches.
    """
    reader = _Reader(os.fspath(path))
    last = _Last()
    if reader.path == STDIN:
        yield last.step(await asyncio.to_thread(reader.read)) or Batch((), "")
        return
    with Eyes(reader.path) as eyes:
        while True:
            for _ in range(_TRIES):
                eyes.arm()
                outcome = await asyncio.to_thread(reader.read, frozenset(eyes.writing))
                if not eyes.drain():
                    break
            reader.accept()
            step = last.step(outcome)
            if step:
                yield step
            await eyes.wait()


@dataclass(slots=True)
class _Last:
    """What was yielded last: the good world, and the errors if there were any since."""

    good: Snapshot | None = None
    failing: str | None = None

    def step(self, outcome: World | InputErrors) -> Batch | InputErrors | None:
        """What to yield now, None if nothing is new."""
        if isinstance(outcome, InputErrors):
            news = str(outcome) != self.failing
            self.failing = str(outcome)
            return outcome if news else None
        before, self.good = self.good, snapshot(outcome)
        news = before is None or self.failing is not None or before.revision != outcome.revision
        self.failing = None
        return events(before, outcome) if news else None


@dataclass(slots=True)
class _Reader:
    """Reads one path again and again. Remembers each file's reading by its name and bytes."""

    path: str
    api: str | None = None
    _known: dict[tuple[str, bytes], Manifest] = field(default_factory=dict)
    _files: list[File] = field(default_factory=list)
    _kept: dict[str, bytes] = field(default_factory=dict)

    def read(self, held: AbstractSet[str] = frozenset()) -> World | InputErrors:
        """The world on disk now; `held` files, which somebody is writing, as they were."""
        for _ in range(_TRIES):
            try:
                self._files = read_files(self.path, held, self._kept)
                return self._understood()
            except MovedError:
                continue
            except InputErrors as errors:
                return errors
            except MissingError as error:
                self._files = []
                return InputErrors((self._gone() if self._kept else error,))
            except InputError as error:
                self._files = []
                return InputErrors((error,))
        return InputErrors((InputError(self.path, "changes faster than it can be read; wait and try again"),))

    def accept(self) -> None:
        """What was read last was no half-written state: keep it for files that are held next time."""
        if self._files:
            self._kept = {file.path: file.data for file in self._files if not file.error}

    def _gone(self) -> InputError:
        return InputError(self.path, "is gone; the last good world stays in force until it is back")

    def _understood(self) -> World:
        with uncollected():
            manifests = [self._manifest(file) for file in self._files]
        self._known = {_identity(file): manifest for file, manifest in zip(self._files, manifests, strict=True)}
        return assemble(manifests, _revision(self._files), self.api)

    def _manifest(self, file: File) -> Manifest:
        known = None if file.error else self._known.get(_identity(file))
        return known or manifest_of(file)


def _identity(file: File) -> tuple[str, bytes]:
    return file.shown, file.data


def _revision(files: list[File]) -> str:
    """Of names inside the world and contents: the same world in another place has the same revision."""
    digest = blake2b(digest_size=16)
    for file in files:
        for part in (file.name.encode(errors="surrogateescape"), file.data):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()
