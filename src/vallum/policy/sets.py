"""Peer sets by kind: what a rule names together, small whatever the number of pods behind it.

A `Shape` says which kinds are in a set; with the `People` of one instant it is a `PeerSet`, whose addresses are
spelled out only for those who ask. Neither changes once made.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from pyroaring import BitMap

from vallum.model.address import Packed
from vallum.policy.index import NOBODY, People

Span = tuple[Packed, Packed]
"""First and last address of a range."""


class Shape(NamedTuple):
    """Kinds and address ranges that a rule names together.

    `spans` are disjoint and sorted, exceptions already cut out. Of the `guarded` kinds only the addresses `inside`
    these ranges count: a named port behind an ipBlock.
    """

    id: str
    text: str
    kinds: BitMap = NOBODY
    spans: tuple[Span, ...] = ()
    guarded: BitMap = NOBODY
    inside: tuple[Span, ...] = ()

    def of(self, kinds: BitMap) -> "Shape":
        """The same set, of these kinds."""
        return Shape(self.id, self.text, kinds, self.spans, self.guarded, self.inside)


@dataclass(frozen=True, slots=True)
class PeerSet:
    """Addresses that a rule names together. `spans` are disjoint and sorted, exceptions already cut out."""

    id: str
    text: str
    addresses: AbstractSet[Packed] = frozenset()
    spans: tuple[Span, ...] = ()

    def __contains__(self, address: Packed) -> bool:
        return address in self.addresses or within(self.spans, address)


class Sets(Mapping[str, PeerSet]):
    """Peer sets by id, of one instant."""

    __slots__ = ("people", "shapes")

    def __init__(self, people: People | None = None, shapes: Mapping[str, Shape] | None = None) -> None:
        self.people = people or People()
        self.shapes = shapes or {}

    def __getitem__(self, key: str) -> PeerSet:
        shape = self.shapes[key]
        return PeerSet(shape.id, shape.text, Members(self.people, shape), shape.spans)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def holds(self, key: str, address: Packed) -> bool:
        """Whether a set has this address: what `address in sets[key]` says, without making the set."""
        shape = self.shapes[key]
        return _has(shape, self.people.kinds.get(address), address) or within(shape.spans, address)


class Members(AbstractSet[Packed]):
    """The pod addresses of a shape, as a set that is not spelled out."""

    __slots__ = ("_people", "_shape")

    def __init__(self, people: People, shape: Shape) -> None:
        self._people = people
        self._shape = shape

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and _has(self._shape, self._people.kinds.get(Packed(address)), Packed(address))

    def __iter__(self) -> Iterator[Packed]:
        members, inside = self._people.members, self._shape.inside
        for kind in self._shape.kinds:
            yield from members[kind]
        for kind in self._shape.guarded:
            yield from (address for address in members[kind] if within(inside, address))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Members({sorted(self)})"

    @classmethod
    def _from_iterable(cls, it: Iterable[Packed]) -> frozenset[Packed]:  # type: ignore[override] # what `|` gives
        return frozenset(it)


def _has(shape: Shape, kind: int | None, address: Packed) -> bool:
    if kind is None:
        return False
    return kind in shape.kinds or (kind in shape.guarded and within(shape.inside, address))


def within(spans: tuple[Span, ...], address: Packed) -> bool:
    """Whether one of these disjoint sorted ranges holds the address."""
    if not spans:
        return False
    index = bisect_right(spans, address, key=lambda span: span[0]) - 1
    return index >= 0 and address <= spans[index][1]
