"""What may one end send to another: the ports of both sides together, by the classes of the Tables.

Addresses that send alike are one kind of sender, those that are reached alike one kind of receiver, so a question is
answered once for all pairs of two kinds. Ignores that a pod reaches itself: who asks about pairs leaves that one out.
"""

from dataclasses import dataclass

from vallum.analysis.ranges import EVERYTHING, NOTHING, Ports, both, normal
from vallum.model.address import Packed
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import Half, classify
from vallum.policy.compile import compile_node
from vallum.policy.ruleset import Way

Kind = int
"""Of a sender: its egress profile and the class it has at ingress sides. Of a receiver: the other way round."""


@dataclass(frozen=True, slots=True)
class _Kind:
    profile: str | None
    other: int


class Reach:
    """Answers for one world."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.ruleset = compile_node(snapshot, None)
        tables = classify(self.ruleset)
        self._ingress, self._egress = tables.half(Way.INGRESS), tables.half(Way.EGRESS)
        self._numbers: dict[_Kind, Kind] = {}
        self._kinds: list[_Kind] = []
        self._senders: dict[Packed, Kind] = {}
        self._receivers: dict[Packed, Kind] = {}
        self._ports: dict[tuple[bool, frozenset[int]], Ports] = {}
        self._between: dict[tuple[Kind, Kind], Ports] = {}

    def sender(self, address: Packed) -> Kind:
        """What the address is as a source."""
        if address not in self._senders:
            profile = self._egress.profiles.get(address)
            self._senders[address] = self._kind(_Kind(profile, self._ingress.address_class(address)))
        return self._senders[address]

    def receiver(self, address: Packed) -> Kind:
        """What the address is as a target."""
        if address not in self._receivers:
            profile = self._ingress.profiles.get(address)
            self._receivers[address] = self._kind(_Kind(profile, self._egress.address_class(address)))
        return self._receivers[address]

    def _kind(self, kind: _Kind) -> Kind:
        """Equal kinds of senders and receivers may share a number: they never stand in one place."""
        number = self._numbers.setdefault(kind, len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append(kind)
        return number

    def between(self, source: Kind, target: Kind) -> Ports:
        """What passes from one to the other."""
        key = (source, target)
        found = self._between.get(key)
        if found is None:
            left = self.leaves(source, target)
            found = self._between[key] = both(left, self.enters(source, target)) if left else NOTHING
        return found

    def leaves(self, source: Kind, target: Kind) -> Ports:
        """What the egress side of the source lets out."""
        return self._side(self._egress, self._kinds[source].profile, self._kinds[target].other)

    def enters(self, source: Kind, target: Kind) -> Ports:
        """What the ingress side of the target lets in."""
        return self._side(self._ingress, self._kinds[target].profile, self._kinds[source].other)

    def _side(self, half: Half, profile: str | None, other: int) -> Ports:
        classes = None if profile is None else half.allowed(profile, other)
        if not classes:
            return EVERYTHING if classes is None else NOTHING
        key = (half is self._ingress, classes)
        if key not in self._ports:
            self._ports[key] = normal(half.ports.matches(classes))
        return self._ports[key]
