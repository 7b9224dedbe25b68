"""What every rule of the policies that isolate an end misses a packet by, as the steps that would make it fit.

Candidates only: `near` judges them again, because a step may do more than one thing. Ways to mend a rule are counted
first and spelled out only where they may be among the nearest. Ignores which of them is shown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice, product
from typing import NamedTuple

from vallum.analysis.probe import End, Owner
from vallum.analysis.steps import Inside, Label, NamespaceLabel, Port, PortName, Protocol, Step
from vallum.model.address import Packed, family, show, span, unpack
from vallum.model.objects import (
    NAME_LABEL,
    Block,
    NamedPort,
    Peer,
    PodId,
    Policy,
    PolicyId,
    PolicyPort,
    PolicyRule,
)
from vallum.model.packet import PORTED, Packet
from vallum.model.selector import Operator, Requirement, Selector
from vallum.model.snapshot import Snapshot
from vallum.policy.ruleset import RuleRef, Way
from vallum.policy.selectors import holds, matches

Steps = tuple[Step, ...]
Facts = tuple[object, ...]
_ByKey = dict[str, list[Requirement]]
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


class Cure(NamedTuple):
    """Ways to make a peer or a port fit: how many steps each of them takes, and which, spelled out when asked for."""

    steps: int
    spelled: Callable[[], Iterable[Steps]]


class Lack(NamedTuple):
    """What a rule misses a packet by: it wants one of the peers and one of the ports."""

    peers: list[Cure]
    ports: list[Cure]

    @property
    def least(self) -> int | None:
        """At least so many steps are missing; None: no step would help."""
        if not self.peers or not self.ports:
            return None
        return min(cure.steps for cure in self.peers) + min(cure.steps for cure in self.ports)

    def nearest(self, count: int) -> list[Steps]:
        """The first `count` ways to make the rule admit the packet, those with the fewest steps first."""
        pairs = product(_fewest(self.peers, count), _fewest(self.ports, count))
        return sorted(((*one, *other) for one, other in pairs if one or other), key=len)[:count]


def misses(gap: "Gap", policies: Iterable[PolicyId], count: int) -> list[Miss]:
    """The first `count` of the rules of these policies, nearest first."""
    lacking = [
        (least, id_, index, lack)
        for id_ in policies
        for index, rule in enumerate(rules_of(gap.snapshot.policies[id_], gap.way) or ())
        if (least := (lack := gap.of(rule, id_.namespace)).least) is not None
    ]
    found: list[Miss] = []
    for least, id_, index, lack in sorted(lacking, key=lambda one: one[:3]):
        if len(found) == count and found[-1].order < (least, id_, index):
            break
        found += [Miss(RuleRef(id_, gap.way, index), steps) for steps in lack.nearest(count)]
        found = sorted(found, key=lambda miss: miss.order)[:count]
    return found


def rules_of(policy: Policy, way: Way) -> tuple[PolicyRule, ...] | None:
    """The rules of a policy in one direction; None where it does not isolate for it."""
    return policy.ingress if way is Way.INGRESS else policy.egress


@dataclass(frozen=True)
class Gap:
    """One side of one packet: what lies between it and a rule.

    `remote` is the other end, `target` the pod at the destination; `owner` knows the addresses of all pods. What many
    rules ask of the remote end is found out once.
    """

    snapshot: Snapshot
    packet: Packet
    way: Way
    remote: End
    target: PodId | None
    owner: Owner

    @cached_property
    def facts(self) -> Facts:
        """All that decides what lies between: gaps of one world that have the same facts are alike."""
        packet, target, id_ = self.packet, self.target, self.remote.pod
        ports = self.snapshot.pods[target].ports if target else ()
        asked = (self.way, packet.source, packet.destination, packet.protocol, packet.dport, target, ports)
        if id_ is None:
            return *asked, self.remote.text
        space = self.snapshot.namespaces.get(id_.namespace)
        return *asked, self.remote.text, id_, self.snapshot.pods[id_].labels, space.labels if space else None

    @cached_property
    def _address(self) -> Packed:
        """The remote end's."""
        return self.packet.source if self.way is Way.INGRESS else self.packet.destination

    @cached_property
    def _versions(self) -> set[int]:
        """Families of the packet's addresses."""
        return {family(self.packet.source), family(self.packet.destination)} - {0}

    @cached_property
    def _carried(self) -> dict[str, str]:
        """The labels of the remote pod."""
        return dict(self.snapshot.pods[self.remote.pod].labels) if self.remote.pod else {}

    @cached_property
    def _around(self) -> dict[str, str] | None:
        """The labels of its namespace, where there is one."""
        space = self.snapshot.namespaces.get(self.remote.pod.namespace) if self.remote.pod else None
        return dict(space.labels) if space else None

    def of(self, rule: PolicyRule, namespace: str) -> Lack:
        """What a rule of a policy in this namespace lacks."""
        return Lack(list(self._peers(rule, namespace)), list(self._ports(rule)))

    def admits(self, rule: PolicyRule, namespace: str) -> bool:
        """Reports whether a rule of a policy in this namespace lacks nothing."""
        cures = (self._ports(rule), self._peers(rule, namespace))
        return all(any(not cure.steps for cure in each) for each in cures)

    def _peers(self, rule: PolicyRule, namespace: str) -> Iterator[Cure]:
        if rule.peers is None:
            yield _FITS
        for peer in rule.peers or ():
            yield from self._peer(peer, namespace)

    def _peer(self, peer: Peer, namespace: str) -> Iterator[Cure]:
        if peer.block:
            return self._block(peer.block)
        return self._selected(peer, namespace)

    def _selected(self, peer: Peer, namespace: str) -> Iterator[Cure]:
        """A selector admits pods only, and where it names no namespaces those of the policy's own."""
        id_, pods, spaces = self.remote.pod, peer.pods, peer.namespaces
        if id_ is None or (pods is None and spaces is None):
            return
        if spaces is None and id_.namespace != namespace:
            return
        on_pod = _lacking(pods, self._carried) if pods else {}
        on_space: _ByKey = {}
        if spaces is not None:
            if self._around is None:
                return
            on_space = _lacking(spaces, self._around)
            if NAME_LABEL in on_space:
                return
        if on_pod or on_space:
            yield Cure(len(on_pod) + len(on_space), partial(_labelled, id_, on_pod, on_space))
        else:
            yield _FITS

    def _block(self, block: Block) -> Iterator[Cure]:
        """The address is inside already, or another one of this family would be. A name alone fits either family."""
        if self._versions and self._versions != {block.network.version}:
            return
        if _holds(block, self._address):
            yield _FITS
        else:
            yield Cure(1, lambda: self._inside(block))

    def _inside(self, block: Block) -> Iterator[Steps]:
        free = self._free(block)
        if free is not None:
            text = str(block.network) + "".join(f" except {net}" for net in block.excepts)
            shown = show(self._address) if family(self._address) else self.remote.text
            yield (Inside(self.remote.text, self.remote.pod, text, unpack(free), shown),)

    def _free(self, block: Block) -> Packed | None:
        """The first address of the block that no pod has."""
        first, last = span(block.network)
        address = Packed(first + 1) if last - first > 1 else first
        for _ in range(_LOOKS):
            cut = next((high for low, high in map(span, block.excepts) if low <= address <= high), None)
            if cut is None and self.owner(address) is None:
                return address if address <= last else None
            address = Packed((address if cut is None else cut) + 1)
        return None

    def _ports(self, rule: PolicyRule) -> Iterator[Cure]:
        if not rule.ports:
            yield _FITS
        for entry in rule.ports or ():
            if entry.protocol == self.packet.protocol:
                yield from self._numbers(entry)
            else:
                other = Protocol(entry.protocol, self.packet.protocol)
                yield from (Cure(1 + cure.steps, partial(_with, other, cure)) for cure in self._numbers(entry))

    def _numbers(self, entry: PolicyPort) -> Iterator[Cure]:
        if isinstance(entry.port, str):
            yield from self._named(entry.port, entry.protocol)
        elif entry.port is None:
            yield _FITS
        else:
            yield self._numbered(entry.port, entry.end or entry.port)

    @cached_property
    def _asked(self) -> int:
        return self.packet.dport if self.packet.protocol in PORTED else 0

    def _numbered(self, first: int, last: int, name: str = "") -> Cure:
        asked = self._asked
        if first <= asked <= last:
            return _FITS
        return Cure(1, lambda: ((Port(first, last, min(max(asked, first), last), asked, name),),))

    def _named(self, name: str, protocol: int) -> Iterator[Cure]:
        """The numbers that the destination pod gives to the name; where it gives none, it could."""
        id_ = self.target
        if id_ is None:
            return
        numbers = [
            port.number for port in self.snapshot.pods[id_].ports if (port.name, port.protocol) == (name, protocol)
        ]
        for number in numbers:
            yield self._numbered(number, number, f"{name} on {id_}")
        if not numbers and self.packet.protocol in PORTED:
            yield Cure(1, lambda: ((PortName(id_, NamedPort(name, protocol, self.packet.dport)),),))


def _with(step: Step, cure: Cure) -> Iterator[Steps]:
    return ((step, *steps) for steps in cure.spelled())


_FITS = Cure(0, lambda: ((),))


def _fewest(cures: list[Cure], count: int) -> list[Steps]:
    """The first `count` of them in a stable order; where nothing has to change, nothing else is worth a thought."""
    found: dict[Steps, None] = {}
    for cure in sorted(cures, key=lambda cure: cure.steps):
        if len(found) >= count or () in found:
            break
        found.update(dict.fromkeys(islice(cure.spelled(), count)))
    return list(found)[:count]


def _holds(block: Block, address: Packed) -> bool:
    low, high = span(block.network)
    return low <= address <= high and not any(a <= address <= b for a, b in map(span, block.excepts))


def _labelled(id_: PodId, on_pod: _ByKey, on_space: _ByKey) -> Iterator[Steps]:
    """Every way to give a pod and its namespace the labels that are asked for."""
    pods = ([Label(id_, key, value) for value in _values(key, asked)] for key, asked in on_pod.items())
    spaces = (
        [NamespaceLabel(id_.namespace, key, value) for value in _values(key, asked)] for key, asked in on_space.items()
    )
    return product(*pods, *spaces)


def _lacking(selector: Selector, labels: Mapping[str, str]) -> _ByKey:
    """All that a selector asks of the labels that do not satisfy it."""
    failing = dict.fromkeys([one.key for one in selector.requirements if not holds(one, labels)])
    return {key: [one for one in selector.requirements if one.key == key] for key in failing}


def _values(key: str, requirements: list[Requirement]) -> list[str | None]:
    """What the label could be: a value that is asked for, no label at all, or a value that nobody excludes."""
    asked: list[str | None] = [value for one in requirements if one.operator is Operator.IN for value in one.values]
    offered = dict.fromkeys(asked or [None, _fresh(requirements)])
    selector = Selector(tuple(requirements))
    return [value for value in offered if matches(selector, {} if value is None else {key: value})]


def _fresh(requirements: list[Requirement]) -> str:
    excluded = {value for one in requirements if one.operator is Operator.NOT_IN for value in one.values}
    return next(text for text in ("", *map("x".__mul__, range(1, len(excluded) + 2))) if text not in excluded)
