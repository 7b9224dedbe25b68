"""The cluster by kind: who owns which address, and which kinds carry which label.

Pods of one namespace with the same labels and ports are one *kind*: all that a selector or a named port can tell
apart. Kinds have small numbers, so a selector's answer is a compressed bitmap, whether ten pods or a thousand share
a kind. What a reader may keep (`People`) never changes; everything else here belongs to one compiler.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from immutables import Map, MapMutation
from pyroaring import BitMap

from vallum.model.address import Packed, by_name, pack
from vallum.model.objects import NamedPort, Pod, PodId
from vallum.model.selector import Labels, Operator, Requirement, Selector

_IN, _NOT_IN, _EXISTS = Operator.IN, Operator.NOT_IN, Operator.EXISTS
"""By names of their own, because Python 3.11 looks members up slowly."""

NOBODY = BitMap()
"""The empty answer. Bitmaps that leave this room are never changed in place."""


class Kind(NamedTuple):
    """What policies can tell apart about pods."""

    namespace: str
    labels: Labels
    ports: tuple[NamedPort, ...]


@dataclass(frozen=True, slots=True)
class People:
    """Who was there at one instant: address -> pod, address -> kind, and kind -> addresses."""

    owners: Map[Packed, Pod] = field(default_factory=Map)
    kinds: Map[Packed, int] = field(default_factory=Map)
    members: Map[int, tuple[Packed, ...]] = field(default_factory=Map)


@dataclass(frozen=True, slots=True)
class Moved:
    """What an update did: kinds that are new, what those were that are no more, addresses claimed or left."""

    born: tuple[int, ...] = ()
    died: tuple[tuple[int, Kind], ...] = ()
    touched: AbstractSet[Packed] = frozenset()


Change = tuple[Pod | None, Pod | None]


class Index:
    """Living pods by address and by kind. With `by_names` a pod without an address counts under its name."""

    def __init__(self, *, by_names: bool) -> None:
        self.people = People()
        self.kinds: dict[int, Kind] = {}
        self._by_names = by_names
        self._numbers: dict[Kind, int] = {}
        self._free: list[int] = []
        self._everybody = BitMap()
        self._rivals: dict[Packed, dict[PodId, Pod]] = {}
        self._spaces: dict[str, BitMap] = {}
        self._labels: dict[tuple[str, str], BitMap] = {}
        self._keys: dict[str, BitMap] = {}
        self._ports: dict[tuple[str, int], dict[int, BitMap]] = {}

    # who is there

    def addresses(self, pod: Pod) -> tuple[Packed, ...]:
        """The addresses that a pod owns: where two live pods claim one, the newest has it (stance 7)."""
        return tuple(packed for packed in self.claims(pod) if self.people.owners[packed].id == pod.id)

    def number(self, pod: Pod) -> int:
        """The kind of a living pod that owns an address."""
        return self._numbers[Kind(pod.id.namespace, pod.labels, pod.ports)]

    def update(self, changes: Iterable[Change]) -> Moved:
        """Take in (before, after) of every pod that changed."""
        touched: dict[Packed, None] = {}
        owners = self.people.owners.mutate()
        for before, after in changes:
            if before is not None:
                for packed in self.claims(before):
                    self._leave(owners, packed, before)
                    touched[packed] = None
            if after is not None:
                for packed in self.claims(after):
                    self._claim(owners, packed, after)
                    touched[packed] = None
        return self._settle(owners.finish(), touched)

    def claims(self, pod: Pod) -> tuple[Packed, ...]:
        """What a pod asks for. Finished pods and those on hostNetwork ask for nothing (stances 6 and 7)."""
        if pod.finished or pod.host_network:
            return ()
        if not pod.addresses:
            return (by_name(str(pod.id)),) if self._by_names else ()
        return tuple(map(pack, pod.addresses))

    def _claim(self, owners: MapMutation[Packed, Pod], packed: Packed, pod: Pod) -> None:
        owner = owners.get(packed)
        if owner is None or owner.id == pod.id:
            owners[packed] = pod
            return
        rivals = self._rivals.setdefault(packed, {owner.id: owner})
        rivals[pod.id] = pod
        owners[packed] = max(rivals.values(), key=newest)

    def _leave(self, owners: MapMutation[Packed, Pod], packed: Packed, pod: Pod) -> None:
        rivals = self._rivals.get(packed)
        if rivals is None:
            del owners[packed]
            return
        rivals.pop(pod.id, None)
        owners[packed] = max(rivals.values(), key=newest)
        if len(rivals) == 1:
            del self._rivals[packed]

    def _settle(self, owners: Map[Packed, Pod], touched: dict[Packed, None]) -> Moved:
        """Bring kinds and their members up to the owners of these addresses."""
        left: dict[int, set[Packed]] = {}
        came: dict[int, list[Packed]] = {}
        born: list[int] = []
        kinds = self.people.kinds.mutate()
        alike: dict[tuple[str, int, int], int] = {}
        for packed in touched:
            owner, before = owners.get(packed), kinds.get(packed)
            after = None
            if owner is not None:  # pods of one template often share the very objects; hashing those is the cost
                key = (owner.id.namespace, id(owner.labels), id(owner.ports))
                after = alike.get(key)
                if after is None:
                    after = alike[key] = self._number(owner, born)
            if before == after:
                continue
            if before is not None:
                left.setdefault(before, set()).add(packed)
            if after is None:
                del kinds[packed]
            else:
                kinds[packed] = after
                came.setdefault(after, []).append(packed)
        members = self.people.members.mutate()
        died = []
        for number in {**left, **came}:
            gone = left.get(number, ())
            stay = [packed for packed in members.get(number, ()) if packed not in gone] + came.get(number, [])
            if stay:
                members[number] = tuple(stay)
            else:
                members.pop(number, None)
                died.append((number, self._bury(number)))
        self.people = People(owners, kinds.finish(), members.finish())
        return Moved(tuple(born), tuple(died), touched.keys())

    def _number(self, pod: Pod, born: list[int]) -> int:
        kind = Kind(pod.id.namespace, pod.labels, pod.ports)
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = self._free.pop() if self._free else len(self.kinds)
            self.kinds[number] = kind
            self._everybody.add(number)
            for table, key in self._places(kind):
                bits = table.get(key)
                if bits is None:
                    bits = table[key] = BitMap()
                bits.add(number)
            born.append(number)
        return number

    def _bury(self, number: int) -> Kind:
        kind = self.kinds.pop(number)
        del self._numbers[kind]
        self._free.append(number)
        self._everybody.discard(number)
        for table, key in self._places(kind):
            bits = table.get(key)
            if bits is not None:
                bits.discard(number)
                if not bits:
                    del table[key]
        return kind

    def _places(self, kind: Kind) -> Iterator[tuple[dict[Any, BitMap], Any]]:
        """Every bitmap that a kind is in, as a table and the key in it."""
        yield self._spaces, kind.namespace
        for pair in kind.labels:
            yield self._labels, pair
            yield self._keys, pair[0]
        for port in kind.ports:
            if port.name:
                yield self._ports.setdefault((port.name, port.protocol), {}), port.number

    # who is meant

    def space(self, namespace: str) -> BitMap:
        """The kinds of a namespace."""
        return self._spaces.get(namespace, NOBODY)

    def inside(self, namespaces: AbstractSet[str]) -> BitMap:
        """The kinds of these namespaces. Where they are most, it is quicker to leave the others out."""
        if 2 * len(namespaces) < len(self._spaces):
            return BitMap.union(NOBODY, *map(self.space, namespaces))
        others = self._spaces.keys() - namespaces
        return self._everybody - BitMap.union(NOBODY, *map(self.space, others))

    def named(self, name: str, protocol: int) -> Mapping[int, BitMap]:
        """The kinds that have a port of this name, by the number that they give to it."""
        return self._ports.get((name, protocol), {})

    def select(self, selector: Selector, among: BitMap) -> BitMap:
        """The kinds among these whose labels match. May be `among` itself."""
        wanted = selector.requirements
        if len(wanted) > 1:  # what leaves few goes first: that there are many to leave out costs little then
            wanted = tuple(sorted(wanted, key=_leaves_many))
        for requirement in wanted:
            among = self._narrow(requirement, among)
        return among

    def _narrow(self, requirement: Requirement, among: BitMap) -> BitMap:
        operator = requirement.operator
        if operator is _IN:
            return among & self._having(requirement)
        if operator is _NOT_IN:  # an absent key satisfies it
            return among - self._having(requirement)
        having = self._keys.get(requirement.key, NOBODY)
        return among & having if operator is _EXISTS else among - having

    def _having(self, requirement: Requirement) -> BitMap:
        key, _, values = requirement
        if len(values) == 1:
            return self._labels.get((key, values[0]), NOBODY)
        return BitMap.union(NOBODY, *(self._labels.get((key, value), NOBODY) for value in values))


def _leaves_many(requirement: Requirement) -> bool:
    return requirement.operator is not _IN


def newest(pod: Pod) -> tuple[str, PodId]:
    """Of pods that claim one address, the one for which this is greatest has it (stance 7)."""
    return pod.created, pod.id
