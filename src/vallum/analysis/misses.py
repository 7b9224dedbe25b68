"""What every rule of the policies that isolate an end misses a packet by, as the steps that would make it fit.

Candidates only: `near` judges them again, because a step may do more than one thing. Ignores which of them is shown.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product

from vallum.analysis.probe import End, Ends, Owner, Probe
from vallum.analysis.steps import Inside, Label, NamespaceLabel, Port, PortName, Protocol, Step
from vallum.model.address import Packed, family, show, span, unpack
from vallum.model.objects import NAME_LABEL, Block, NamedPort, Peer, PolicyId, PolicyPort, PolicyRule
from vallum.model.packet import PORTED, Packet
from vallum.model.selector import Operator, Requirement, Selector
from vallum.model.snapshot import Snapshot
from vallum.policy.ruleset import RuleRef, Way
from vallum.policy.selectors import matches

Steps = tuple[Step, ...]
_ALTERNATIVES = 64
"""Ways to satisfy one rule's peers, or its ports, that are kept: those with the fewest steps."""
_LOOKS = 256
"""Addresses of a block that are looked at for one that nobody has."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule, and the steps after which it would admit the packet."""

    rule: RuleRef
    steps: Steps

    @property
    def order(self) -> tuple[int, PolicyId, int]:
        """Fewest steps first; ties by policy name, then by rule."""
        return len(self.steps), self.rule.policy, self.rule.index


def misses(  # noqa: PLR0917 - a question has these parts
    snapshot: Snapshot, ends: Ends, probe: Probe, way: Way, policies: Iterable[PolicyId], owner: Owner
) -> list[Miss]:
    """Of every rule of these policies in this direction, nearest first. `owner` knows the addresses of all pods."""
    gap = _Gap(snapshot, ends, probe, way, owner)
    found: list[Miss] = []
    for id_ in policies:
        policy = snapshot.policies[id_]
        for index, rule in enumerate((policy.ingress if way is Way.INGRESS else policy.egress) or ()):
            ref = RuleRef(id_, way, index)
            found += [Miss(ref, steps) for steps in gap.of(rule, id_.namespace)]
    return sorted(found, key=lambda miss: miss.order)


class _Gap:
    """One side of one packet: what lies between it and a rule."""

    def __init__(self, snapshot: Snapshot, ends: Ends, probe: Probe, way: Way, owner: Owner) -> None:
        self._snapshot = snapshot
        self._owner = owner
        self._ends = ends
        self._packet: Packet = self._ends.packet(probe)
        self._way = way
        self._remote: End = self._ends.end(probe.source_end if way is Way.INGRESS else probe.target_end)
        self._target: End = self._ends.end(probe.target_end)

    @cached_property
    def _address(self) -> Packed:
        """The remote end's."""
        return self._packet.source if self._way is Way.INGRESS else self._packet.destination

    def of(self, rule: PolicyRule, namespace: str) -> Iterator[Steps]:
        """Every way found to make the rule admit the packet."""
        peers = _fewest(self._peers(rule, namespace))
        ports = _fewest(self._ports(rule))
        return ((*one, *other) for one, other in product(peers, ports) if one or other)

    def _peers(self, rule: PolicyRule, namespace: str) -> Iterator[Steps]:
        if rule.peers is None:
            yield ()
        for peer in rule.peers or ():
            yield from self._block(peer.block) if peer.block else self._selected(peer, namespace)

    def _selected(self, peer: Peer, namespace: str) -> Iterator[Steps]:
        """A selector admits pods only, and where it names no namespaces those of the policy's own."""
        id_ = self._remote.pod
        if id_ is None or (peer.pods is None and peer.namespaces is None):
            return
        if peer.namespaces is None and id_.namespace != namespace:
            return
        labels = dict(self._snapshot.pods[id_].labels)
        on_pod = _changes(peer.pods or Selector(), labels, lambda key, value: Label(id_, key, value))
        space = self._snapshot.namespaces.get(id_.namespace)
        of_space = dict(space.labels) if space else {}
        name = id_.namespace
        on_space = (
            [()]
            if peer.namespaces is None or space is None
            else _changes(peer.namespaces, of_space, lambda key, value: NamespaceLabel(name, key, value), {NAME_LABEL})
        )
        if peer.namespaces is None or space is not None:
            yield from ((*one, *other) for one, other in product(on_pod, on_space))

    def _block(self, block: Block) -> Iterator[Steps]:
        """The address is inside already, or another one of this family would be. A name alone fits either family."""
        local = self._packet.destination if self._way is Way.INGRESS else self._packet.source
        versions = {family(local), family(self._address)} - {0}
        if versions and versions != {block.network.version}:
            return
        if _holds(block, self._address):
            yield ()
            return
        free = self._free(block)
        if free is not None:
            text = str(block.network) + "".join(f" except {net}" for net in block.excepts)
            shown = show(self._address) if family(self._address) else self._remote.text
            yield (Inside(self._remote.text, self._remote.pod, text, unpack(free), shown),)

    def _free(self, block: Block) -> Packed | None:
        """The first address of the block that no pod has."""
        first, last = span(block.network)
        address = Packed(first + 1) if last - first > 1 else first
        for _ in range(_LOOKS):
            cut = next((high for low, high in map(span, block.excepts) if low <= address <= high), None)
            if cut is None and self._owner(address) is None:
                return address if address <= last else None
            address = Packed((address if cut is None else cut) + 1)
        return None

    def _ports(self, rule: PolicyRule) -> Iterator[Steps]:
        if rule.ports is None:
            yield ()
        for entry in rule.ports or ():
            other: Steps = ()
            if entry.protocol != self._packet.protocol:
                other = (Protocol(entry.protocol, self._packet.protocol),)
            yield from ((*other, *steps) for steps in self._numbers(entry))

    def _numbers(self, entry: PolicyPort) -> Iterator[Steps]:
        if isinstance(entry.port, str):
            yield from self._named(entry.port, entry.protocol)
        elif entry.port is None:
            yield ()
        else:
            yield self._numbered(entry.port, entry.end or entry.port)

    def _numbered(self, first: int, last: int, name: str = "") -> Steps:
        asked = self._packet.dport if self._packet.protocol in PORTED else 0
        if first <= asked <= last:
            return ()
        return (Port(first, last, min(max(asked, first), last), asked, name),)

    def _named(self, name: str, protocol: int) -> Iterator[Steps]:
        """The numbers that the destination pod gives to the name; where it gives none, it could."""
        id_ = self._target.pod
        if id_ is None:
            return
        numbers = [
            port.number for port in self._snapshot.pods[id_].ports if (port.name, port.protocol) == (name, protocol)
        ]
        for number in numbers:
            yield self._numbered(number, number, f"{name} on {id_}")
        if not numbers and self._packet.protocol in PORTED:
            yield (PortName(id_, NamedPort(name, protocol, self._packet.dport)),)


def _fewest(found: Iterable[Steps]) -> list[Steps]:
    """The best of them in a stable order; where nothing has to change, nothing else is worth a thought."""
    ordered = sorted(dict.fromkeys(found), key=len)
    return [()] if ordered and not ordered[0] else ordered[:_ALTERNATIVES]


def _holds(block: Block, address: Packed) -> bool:
    low, high = span(block.network)
    return low <= address <= high and not any(a <= address <= b for a, b in map(span, block.excepts))


def _changes(
    selector: Selector,
    labels: dict[str, str],
    step: Callable[[str, str | None], Step],
    fixed: Iterable[str] = (),
) -> list[Steps]:
    """The changes of labels after which the selector matches. None where a label that is fixed stands in the way."""
    by_key: dict[str, list[Requirement]] = {}
    for requirement in selector.requirements:
        by_key.setdefault(requirement.key, []).append(requirement)
    settings = []
    for key, requirements in by_key.items():
        if matches(Selector(tuple(requirements)), labels):
            continue
        values = [] if key in fixed else _values(key, requirements)
        settings.append([step(key, value) for value in values])
    return list(islice(product(*settings), _ALTERNATIVES))


def _values(key: str, requirements: list[Requirement]) -> list[str | None]:
    """What the label could be: a value that is asked for, no label at all, or a value that nobody excludes."""
    asked = [value for one in requirements if one.operator is Operator.IN for value in one.values]
    excluded = {value for one in requirements if one.operator is Operator.NOT_IN for value in one.values}
    fresh = next(text for text in ("", *map("x".__mul__, range(1, len(excluded) + 2))) if text not in excluded)
    selector = Selector(tuple(requirements))
    offered: list[str | None] = [*asked, None, fresh]
    return [value for value in dict.fromkeys(offered) if matches(selector, {} if value is None else {key: value})]
