"""The objects of one kind as they were last seen, and what changes when the whole list is read anew.

After a gap in the stream nobody tells what was deleted: that shows only by comparing. What is equal stays the same
object, so that whoever compares snapshots by identity sees no change.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vallum.model.snapshot import Event, Gone, Put
from vallum.sources.kube.kinds import Read

if TYPE_CHECKING:
    from vallum.model.objects import Object

Name = tuple[str, str]
"""Namespace, or empty, and name."""


class Held:
    """Objects by namespace and name, and what is wrong with some of them."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._spaces: dict[str, dict[str, Object]] = {}
        self.problems: dict[Name, tuple[str, ...]] = {}

    def put(self, read: Read) -> Event | None:
        """Keep an object. None where it was there and equal in all that is read."""
        self._note(read)
        space = self._spaces.get(read.space)
        if read.thing is None or (space and space.get(read.name) == read.thing):
            return None
        if space is None:
            space = self._spaces[read.space] = {}
        space[read.name] = read.thing
        return Put(read.thing)

    def gone(self, read: Read) -> Event | None:
        """Forget an object. None where it was not there."""
        self.problems.pop((read.space, read.name), None)
        space = self._spaces.get(read.space, {})
        if space.pop(read.name, None) is None:
            return None
        if not space:
            del self._spaces[read.space]
        return Gone((self._kind, read.space, read.name))

    def renewed(self, reads: Iterator[Read], older: "Held") -> None:
        """Keep objects of a new list; those that are as they were in `older` stay the same ones."""
        for read in reads:
            self._note(read)
            if read.thing is None:
                continue
            space = self._spaces.setdefault(read.space, {})
            known = older._spaces.get(read.space, {}).get(read.name)  # noqa: SLF001 - another of its kind
            space[read.name] = known if known is not None and known == read.thing else read.thing

    def since(self, older: "Held") -> Iterator[Event]:
        """What leads from the older one to this."""
        for name, space in self._spaces.items():
            before = older._spaces.get(name, {})  # noqa: SLF001 - another of its kind
            yield from (Put(thing) for key, thing in space.items() if before.get(key) is not thing)
        for name, space in older._spaces.items():  # noqa: SLF001 - another of its kind
            left = self._spaces.get(name, {})
            yield from (Gone((self._kind, name, key)) for key in space if key not in left)

    def _note(self, read: Read) -> None:
        if read.problems:
            self.problems[read.space, read.name] = read.problems
        elif self.problems:
            self.problems.pop((read.space, read.name), None)
