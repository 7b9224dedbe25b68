"""Two worlds side by side: every end of either, what each pair may exchange before and after.

Ends are known by name, whatever address they have meanwhile. Pairs of equal kinds in both
worlds are answered once. Ignores what is made of the answers.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from vallum.analysis.parties import By, Member, Party, parties
from vallum.analysis.ranges import Ports
from vallum.analysis.reach import Kind, Reach
from vallum.model.snapshot import Snapshot

OLD, NEW = 0, 1
_EXAMPLES = 2
"""Points of a kind that are kept: of two, one is not the other end itself."""


@dataclass(frozen=True, slots=True)
class Point:
    """One end with its kinds as sender and receiver in each world, None where that world has it not."""

    members: tuple[Member | None, Member | None]
    sends: tuple[Kind | None, Kind | None]
    receives: tuple[Kind | None, Kind | None]
    inside: bool

    @property
    def name(self) -> str:
        """The same in both worlds."""
        return next(member.name for member in self.members if member)

    @property
    def homes(self) -> tuple[str | None, ...]:
        """The nodes that it runs on."""
        return tuple(member.home if member else None for member in self.members)

    @property
    def nodes(self) -> tuple[frozenset[str], ...]:
        """The nodes whose address it is."""
        return tuple(member.nodes if member else frozenset() for member in self.members)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a pair may exchange in each world, None where one of the ends is not there."""

    source: Point
    target: Point
    before: Ports | None
    after: Ports | None


@dataclass(slots=True)
class Row:
    """One party of both worlds."""

    name: str
    inside: bool
    nodes: bool
    points: dict[int, list[Point]] = field(default_factory=dict)
    _found: dict[tuple[str, int], dict[Hashable, list[Point]]] = field(default_factory=dict)

    def senders(self, version: int) -> dict[Hashable, list[Point]]:
        """Some points of each kind of sender; a node's address is a kind of its own."""
        return self._examples("senders", version, lambda point: (point.sends, point.nodes))

    def receivers(self, version: int, *, homes: bool) -> dict[Hashable, list[Point]]:
        """Some points of each kind of receiver; with `homes` they are told apart by their nodes too."""
        if homes:
            return self._examples("homes", version, lambda point: (point.receives, point.homes))
        return self._examples("receivers", version, lambda point: point.receives)

    def _examples(self, name: str, version: int, kind: Callable[[Point], Hashable]) -> dict[Hashable, list[Point]]:
        found = self._found.get((name, version))
        if found is None:
            found = self._found[name, version] = {}
            for point in self.points.get(version, ()):
                known = found.setdefault(kind(point), [])
                if len(known) < _EXAMPLES:
                    known.append(point)
        return found


class Compared:
    """See the file's head."""

    def __init__(self, old: Snapshot, new: Snapshot, by: By, families: tuple[int, ...]) -> None:
        self.reach = (Reach(old), Reach(new))
        self._families = families
        self._answers: dict[tuple[Hashable, ...], Answer | None] = {}
        self._apart: set[tuple[Hashable, ...]] = set()
        """Pairs of which no world has both."""
        self._pairs: dict[tuple[int, int], list[Answer | None]] = {}
        self._numbers: dict[Hashable, int] = {}
        self.rows = self._rows(parties(old, by, (new,)), parties(new, by, (old,)))
        self._senders = {row.name: self._kinds(row, lambda point: point.sends) for row in self.rows}
        self._receivers = {row.name: self._kinds(row, lambda point: point.receives) for row in self.rows}

    def only(self, world: int) -> tuple[str, ...]:
        """The pods and nodes that one world has and the other has not."""
        found = [{point.name for point in self._all() if point.members[one]} for one in (OLD, NEW)]
        outside = {point.name for row in self.rows if not (row.inside or row.nodes) for point in self._of(row)}
        return tuple(sorted(found[world] - found[1 - world] - outside))

    def _all(self) -> Iterator[Point]:
        for row in self.rows:
            yield from self._of(row)

    def _of(self, row: Row) -> Iterator[Point]:
        for points in row.points.values():
            yield from points

    def _rows(self, before: list[Party], after: list[Party]) -> list[Row]:
        """By the parties of the new world; what is gone keeps its old one."""
        old = {key: (party, member) for key, party, member in self._members(before)}
        rows: dict[str, Row] = {}
        for key, party, member in self._members(after):
            _, earlier = old.pop(key, (None, None))
            self._add(rows, party, key, (earlier, member))
        for key, (party, member) in old.items():
            self._add(rows, party, key, (member, None))
        return [rows[name] for name in sorted(rows)]

    def _members(self, found: Iterable[Party]) -> Iterator[tuple[tuple[Hashable, ...], Party, Member]]:
        for party in found:
            for version in self._families:
                for index, member in enumerate(party.members.get(version, ())):
                    which = index if member.nodes else 0  # a node may have several addresses of a family
                    yield (version, party.inside, member.name, which), party, member

    def _add(
        self,
        rows: dict[str, Row],
        party: Party,
        key: tuple[Hashable, ...],
        members: tuple[Member | None, Member | None],
    ) -> None:
        both_worlds = tuple(zip(self.reach, members, strict=True))
        sends = tuple(reach.sender(one.address) if one else None for reach, one in both_worlds)
        receives = tuple(reach.receiver(one.address) if one else None for reach, one in both_worlds)
        point = Point(members, (sends[0], sends[1]), (receives[0], receives[1]), party.inside)
        row = rows.setdefault(party.name, Row(party.name, party.inside, any(one.nodes for one in members if one)))
        version = key[0]
        assert isinstance(version, int)
        row.points.setdefault(version, []).append(point)

    def _kinds(self, row: Row, kind: Callable[[Point], Hashable]) -> int:
        """Rows with the same number are made of the same kinds."""
        made = tuple(frozenset(map(kind, row.points.get(version, ()))) for version in self._families)
        return self._numbers.setdefault(made, len(self._numbers))

    def answers(self, source: Row, target: Row) -> list[Answer | None]:
        """The answers of all pairs of two rows, each that differs once, and None for those that did not change.

        Two ends outside are no pair.
        """
        if not (source.inside or target.inside):
            return []
        if source.nodes or source is target:
            return self._work_out(source, target)
        key = (self._senders[source.name], self._receivers[target.name])
        if key not in self._pairs:
            self._pairs[key] = self._work_out(source, target)
        return self._pairs[key]

    def _work_out(self, source: Row, target: Row) -> list[Answer | None]:
        found: dict[int, Answer | None] = {}
        for version in self._families:
            receivers = target.receivers(version, homes=source.nodes)
            for sending, sources in source.senders(version).items():
                for receiving, targets in receivers.items():
                    pair = next(((a, b) for a in sources for b in targets if a.name != b.name), None)
                    if pair:
                        key = (sending, receiving)
                        answer = self._answers[key] if key in self._answers else self._answer(key, *pair)
                        if answer is not None or key not in self._apart:
                            found[id(answer)] = answer
        return list(found.values())

    def _answer(self, key: tuple[Hashable, ...], source: Point, target: Point) -> Answer | None:
        before, after = self._ports(OLD, source, target), self._ports(NEW, source, target)
        answer = None if before == after else Answer(source, target, before, after)
        if before is None and after is None:
            self._apart.add(key)
        self._answers[key] = answer
        return answer

    def _ports(self, world: int, source: Point, target: Point) -> Ports | None:
        sender, receiver = source.sends[world], target.receives[world]
        if sender is None or receiver is None:
            return None
        reach, member = self.reach[world], source.members[world]
        if member is not None and member.nodes and target.homes[world] in member.nodes:
            return reach.leaves(sender, receiver)
        return reach.between(sender, receiver)
