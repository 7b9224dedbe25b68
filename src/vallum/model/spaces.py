"""Namespaced objects as an immutable mapping that is cheap to change and cheap to compare.

A new version copies the namespaces that changed and shares all others, so two versions that are near differ in few
places, and those are found by identity. What it ignores: what the objects are.
"""

from collections.abc import Iterable, Iterator, Mapping, ValuesView
from typing import Any, Generic, Protocol, TypeVar

from vallum.model.objects import ObjectId


class Named(Protocol):
    """Anything with a namespaced id."""

    @property
    def id(self) -> Any:
        """Namespace and name."""


Id = TypeVar("Id", bound=ObjectId)
Thing = TypeVar("Thing", bound=Named)


class Spaces(Mapping[Id, Thing], Generic[Id, Thing]):
    """Objects by id, kept by namespace. Never changed once made."""

    __slots__ = ("_spaces",)

    def __init__(self, spaces: dict[str, dict[str, Thing]]) -> None:
        """Takes the dicts over for good; empty namespaces must not be among them."""
        self._spaces = spaces

    @classmethod
    def of(cls, things: Iterable[Thing]) -> "Spaces[Id, Thing]":
        """Of these objects. A later one of the same id replaces an earlier one."""
        spaces: dict[str, dict[str, Thing]] = {}
        for thing in things:
            id_ = thing.id
            space = spaces.get(id_.namespace)
            if space is None:
                space = spaces[id_.namespace] = {}
            space[id_.name] = thing
        return cls(spaces)

    def __getitem__(self, key: Id) -> Thing:
        return self._spaces[key.namespace][key.name]

    def __iter__(self) -> Iterator[Id]:
        return (thing.id for space in self._spaces.values() for thing in space.values())

    def __len__(self) -> int:
        return sum(map(len, self._spaces.values()))

    def __bool__(self) -> bool:
        return bool(self._spaces)

    def values(self) -> ValuesView[Thing]:
        """All objects, namespace by namespace."""
        return _Values(self)

    def things(self) -> Iterator[Thing]:
        """All objects, namespace by namespace."""
        return (thing for space in self._spaces.values() for thing in space.values())

    def inside(self, namespace: str) -> Mapping[str, Thing]:
        """The objects of one namespace by name."""
        return self._spaces.get(namespace, {})

    def changed(self, changes: Mapping[Id, Thing | None]) -> "Spaces[Id, Thing]":
        """A version with these objects put in or, where None, taken out; itself when nothing changes."""
        spaces: dict[str, dict[str, Thing]] = {}
        for id_, thing in changes.items():
            if id_.namespace not in spaces:
                spaces[id_.namespace] = dict(self.inside(id_.namespace))
            if thing is None:
                spaces[id_.namespace].pop(id_.name, None)
            else:
                spaces[id_.namespace][id_.name] = thing
        if not spaces:
            return self
        merged = self._spaces | spaces
        for name, space in spaces.items():
            if not space:
                del merged[name]
        return Spaces(merged)

    def since(self, older: "Spaces[Id, Thing]") -> Iterator[tuple[Thing | None, Thing | None]]:
        """(before, after) of every object that is not the same one as in `older`."""
        if older is self:
            return
        if not older:
            yield from ((None, thing) for thing in self.things())
            return
        others = older._spaces  # noqa: SLF001 - another version of itself
        moved = [name for name, after in self._spaces.items() if others.get(name) is not after]
        for name in (*moved, *(others.keys() - self._spaces.keys())):
            before, after = older.inside(name), self.inside(name)
            for key in {**before, **after}:
                one, other = before.get(key), after.get(key)
                if one is not other and one != other:
                    yield one, other


class _Values(ValuesView[Thing]):
    """Iterates without building ids."""

    def __init__(self, spaces: Spaces[Any, Thing]) -> None:
        super().__init__(spaces)
        self._things = spaces.things

    def __iter__(self) -> Iterator[Thing]:
        return self._things()
