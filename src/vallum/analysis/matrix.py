"""Who reaches whom: for every pair of parties what passes between all of their members, and what between some.

Exact, never sampled: pairs of kinds are compared, not pairs of pods, and pairs of parties that are made of the same
kinds share their answer. A pod and itself are no pair (stance 14); a node and a pod of its own are one, and everything
passes (stance 13). Two ends outside of the cluster are no pair either: policy does not speak of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vallum.analysis.parties import FAMILIES, By, Member, Party, parties
from vallum.analysis.ranges import NOTHING, Ports, both, either, holds, texts, without
from vallum.analysis.reach import Kind, Reach
from vallum.model.snapshot import Snapshot

ALWAYS = (
    "a pod reaches itself; that is not counted",
    "a node reaches the pods that run on it, on every port",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What passes between every pair of members, and what passes between some of them only."""

    all: Ports
    some: Ports

    def answer(self, protocol: int, port: int) -> str:
        """For one service: `yes`, `some` or `no`."""
        if holds(self.all, protocol, port):
            return "yes"
        return "some" if holds(self.some, protocol, port) else "no"


@dataclass(frozen=True, slots=True)
class Connection:
    """A pair of parties with what passes from one to the other."""

    source: Party
    target: Party
    cell: Cell

    def facts(self) -> dict[str, Any]:
        """As plain data (docs/formats)."""
        ends = {"from": self.source.name, "to": self.target.name}
        return ends | {"all": texts(self.cell.all), "some": texts(self.cell.some)}


@dataclass(frozen=True, slots=True)
class _Makeup:
    """A party as the policies see it. Equal `sends` and `receives` stand for equal sets of kinds by family."""

    party: Party
    inside: bool
    nodes: bool
    sends: int
    receives: int


_Kinds = tuple[tuple[int, frozenset[Kind]], ...]


class Matrix:
    """The parties of one world and what passes between them, worked out when asked."""

    def __init__(self, snapshot: Snapshot, by: By, families: Iterable[int] = FAMILIES) -> None:
        self.by = by
        self.families = tuple(families)
        self.parties = tuple(party for party in parties(snapshot, by) if self._present(party))
        self._reach = Reach(snapshot)
        self._sets: dict[_Kinds, int] = {}
        self._kinds: list[_Kinds] = []
        self._made = {party.name: self._makeup(party) for party in self.parties}
        self._cells: dict[tuple[int, int], Cell | None] = {}

    def _present(self, party: Party) -> bool:
        return any(party.members.get(version) for version in self.families)

    def _members(self, party: Party, version: int) -> tuple[Member, ...]:
        return party.members.get(version, ())

    def _makeup(self, party: Party) -> _Makeup:
        found = [(version, self._members(party, version)) for version in self.families]
        sends = tuple((v, frozenset(self._reach.sender(one.address) for one in members)) for v, members in found)
        receives = tuple((v, frozenset(self._reach.receiver(one.address) for one in members)) for v, members in found)
        nodes = any(one.nodes for _, members in found for one in members)
        return _Makeup(party, party.inside, nodes, self._number(sends), self._number(receives))

    def _number(self, kinds: _Kinds) -> int:
        number = self._sets.setdefault(kinds, len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append(kinds)
        return number

    def cell(self, source: Party, target: Party) -> Cell | None:
        """None where there is no pair: neither is a pod, no family is shared, or the only pod of both is the same."""
        return self._cell(self._made[source.name], self._made[target.name])

    def _cell(self, source: _Makeup, target: _Makeup) -> Cell | None:
        if not (source.inside or target.inside):
            return None
        if source is target:
            return _joined(self._within(source.party))
        key = (source.sends, target.receives)
        if key not in self._cells:
            self._cells[key] = _joined(self._among(*key))
        found = self._cells[key]
        return _joined(self._from_nodes(source.party, target.party)) if source.nodes and found else found

    def connections(
        self, sources: Iterable[Party] | None = None, targets: Iterable[Party] | None = None
    ) -> Iterator[Connection]:
        """Every pair between which something passes."""
        columns = [self._made[party.name] for party in (self.parties if targets is None else targets)]
        for party in self.parties if sources is None else sources:
            source = self._made[party.name]
            for target in columns:
                cell = self._cell(source, target)
                if cell is not None and (cell.all or cell.some):
                    yield Connection(party, target.party, cell)

    def _among(self, sends: int, receives: int) -> set[Ports]:
        """What the pairs of two parties may exchange, each answer once."""
        return {
            self._reach.between(one, other)
            for (_, sources), (_, targets) in zip(self._kinds[sends], self._kinds[receives], strict=True)
            for one in sources
            for other in targets
        }

    def _within(self, party: Party) -> set[Ports]:
        """Likewise among the members of one party, which are no pairs with themselves."""
        found = set()
        for version in self.families:
            members = self._members(party, version)
            counts = Counter((self._reach.sender(one.address), self._reach.receiver(one.address)) for one in members)
            for one, many in counts.items():
                found |= {self._reach.between(one[0], other[1]) for other in counts if other != one or many > 1}
        return found

    def _from_nodes(self, source: Party, target: Party) -> set[Ports]:
        """From a node it matters where the pods run: its own are open to it."""
        found = set()
        for version in self.families:
            receivers = {(self._reach.receiver(one.address), one.home) for one in self._members(target, version)}
            for member in self._members(source, version):
                kind = self._reach.sender(member.address)
                own = {self._reach.leaves(kind, other) for other, home in receivers if home in member.nodes}
                found |= own | {
                    self._reach.between(kind, other) for other, home in receivers if home not in member.nodes
                }
        return found

    def facts(self, connections: Iterable[Connection]) -> dict[str, Any]:
        """As plain data; pairs that are not listed exchange nothing."""
        return {
            "by": str(self.by),
            "families": list(self.families),
            "parties": [party_facts(party) for party in self.parties],
            "connections": [connection.facts() for connection in connections],
            "always": list(ALWAYS),
        }


def party_facts(party: Party) -> dict[str, Any]:
    """A row or column as plain data."""
    told: dict[str, Any] = {"name": party.name, "kind": party.kind}
    if party.inside:
        told["pods"] = party.names()
    if party.ranges:
        told["ranges"] = [{"cidr": str(net), "except": [str(cut) for cut in cuts]} for net, cuts in party.ranges]
    return told


def _joined(found: set[Ports]) -> Cell | None:
    if not found:
        return None
    answers = iter(found)
    every = any_ = next(answers)
    for ports in answers:
        every, any_ = both(every, ports), either(any_, ports)
    return Cell(every, without(any_, every) if len(found) > 1 else NOTHING)
