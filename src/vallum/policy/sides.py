"""Policies -> the two sides of a kind: which policies isolate it, and the rules that they give it, resolved.

One Side serves all kinds that share policies and, where it matters, named ports. What was made is remembered per
namespace until a policy or a kind there changes; the result depends on the present policies and kinds only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vallum.model.objects import NamedPort, Policy, PolicyId, PolicyRule
from vallum.model.spaces import Spaces
from vallum.policy.index import Index, Kind, Moved
from vallum.policy.peers import Peers, digest
from vallum.policy.ruleset import OPEN, PortMatch, Rule, RuleRef, Side, Way
from vallum.policy.selectors import matches

Both = tuple[Side, Side]
"""Ingress and egress."""


@dataclass(slots=True)
class _Space:
    """What is known of one namespace: the policies that select each kind, and the sides made of them."""

    selecting: dict[int, list[Policy]]
    sides: dict[int, Both] = field(default_factory=dict)


class _LookUp(NamedTuple):
    """A named port in egress: what it is among which peers is for the pods there to say (stance 10)."""

    peers: tuple[str, ...] | None
    name: str
    protocol: int


@dataclass(frozen=True, slots=True)
class _Made:
    """A side, the policies it was made of, and what it found under the names that it looked up."""

    side: Side
    policies: tuple[Policy, ...]
    found: dict[_LookUp, list[tuple[int, str]]]


class Sides:
    """The sides of kinds, made when asked for."""

    def __init__(self, index: Index, peers: Peers) -> None:
        self._index = index
        self._peers = peers
        self._policies: Spaces[PolicyId, Policy] = Spaces({})
        self._spaces: dict[str, _Space] = {}
        self._made: dict[tuple[object, ...], _Made] = {}
        self._living: dict[int, tuple[object, ...]] = {id(OPEN): ()}

    def renew(self, policies: Spaces[PolicyId, Policy], moved: Moved, *, relabelled: bool) -> set[str]:
        """Bring what is known up to policies and kinds. The namespaces whose kinds may have other sides now."""
        changed = {(one or other).id.namespace for one, other in policies.since(self._policies)}  # type: ignore[union-attr] # one is there
        self._policies = policies
        for namespace in changed:
            self._spaces.pop(namespace, None)
        for number, kind in moved.died:
            space = self._spaces.get(kind.namespace)
            if space is not None:
                space.selecting.pop(number, None)
                space.sides.pop(number, None)
        born = [(number, self._index.kinds[number]) for number in moved.born]
        for number, kind in born:
            space = self._spaces.get(kind.namespace)
            if space is not None:
                labels, here = dict(kind.labels), sorted(policies.inside(kind.namespace).items())
                space.selecting[number] = [policy for _, policy in here if matches(policy.pods, labels)]
        if self._look_up_again([kind for _, kind in (*born, *moved.died)], relabelled=relabelled):
            changed |= self._spaces.keys()
            self._spaces.clear()
        return changed

    def of(self, number: int) -> Both:
        """Both sides of a kind."""
        kind = self._index.kinds[number]
        space = self._spaces.get(kind.namespace)
        if space is None:
            space = self._spaces[kind.namespace] = _Space(self._selecting(kind.namespace))
        both = space.sides.get(number)
        if both is None or not self._living.keys() >= {id(both[0]), id(both[1])}:
            policies = space.selecting.get(number, ())
            both = space.sides[number] = (
                self._side(policies, Way.INGRESS, kind),
                self._side(policies, Way.EGRESS, kind),
            )
        return both

    def keep(self, sides: Mapping[int, Side]) -> None:
        """Forget every side but these, given by identity. A kind that has one which is forgotten gets it made again
        when it is asked for: as long as the kind has it, no other side can have its identity.
        """
        for gone in self._living.keys() - sides.keys():
            if gone != id(OPEN):
                del self._made[self._living.pop(gone)]

    def _selecting(self, namespace: str) -> dict[int, list[Policy]]:
        """The policies that select each kind of a namespace, by name."""
        found: dict[int, list[Policy]] = {}
        for _, policy in sorted(self._policies.inside(namespace).items()):
            for number in self._peers.select(policy.pods, namespace):
                found.setdefault(number, []).append(policy)
        return found

    def _side(self, selecting: Iterable[Policy], way: Way, kind: Kind) -> Side:
        policies = tuple(policy for policy in selecting if _rules(policy, way) is not None)
        if not policies:
            return OPEN
        names = _names_used(policies) if way is Way.INGRESS else frozenset()
        resolved = tuple(sorted(port for port in kind.ports if port.name in names)) if names else ()
        key = (way, resolved, *map(id, policies))
        made = self._made.get(key)
        if made is None:
            made = self._put(key, self._make(policies, way, resolved))
        return made.side

    def _put(self, key: tuple[object, ...], made: _Made) -> _Made:
        before = self._made.get(key)
        if before is not None:
            del self._living[id(before.side)]
        self._made[key] = made
        self._living[id(made.side)] = key
        return made

    def _make(self, policies: tuple[Policy, ...], way: Way, resolved: tuple[NamedPort, ...]) -> _Made:
        found: dict[_LookUp, list[tuple[int, str]]] = {}
        rules = tuple(rule for policy in policies for rule in self._policy_rules(policy, way, resolved, found))
        ids = tuple(policy.id for policy in policies)
        return _Made(Side(digest(way, *map(str, ids), *map(repr, resolved)), ids, rules), policies, found)

    def _look_up_again(self, kinds: Iterable[Kind], *, relabelled: bool) -> bool:
        """Make the sides again whose named ports stand for other numbers now. Reports whether there were any."""
        touched = {(port.name, port.protocol) for kind in kinds for port in kind.ports}
        if not touched and not relabelled:
            return False
        changed = False
        for key, made in [entry for entry in self._made.items() if entry[1].found]:
            again = [look for look in made.found if relabelled or (look.name, look.protocol) in touched]
            now = {look: list(self._peers.with_port(*look)) for look in again}  # the sets follow here, all of them
            if any(made.found[look] != numbers for look, numbers in now.items()):
                self._put(key, self._make(made.policies, Way.EGRESS, ()))
                changed = True
        return changed

    def _policy_rules(
        self,
        policy: Policy,
        way: Way,
        resolved: tuple[NamedPort, ...],
        found: dict[_LookUp, list[tuple[int, str]]],
    ) -> Iterable[Rule]:
        for index, rule in enumerate(_rules(policy, way) or ()):
            ref = RuleRef(policy.id, way, index)
            peers = self._peer_ids(policy, rule)
            if way is Way.INGRESS:
                yield Rule(peers, _ingress_ports(rule, resolved), ref)
                continue
            yield Rule(peers, _numeric(rule), ref)  # without numbers it matches nothing, but questions see it
            for entry in rule.ports or ():
                if isinstance(entry.port, str):
                    look = _LookUp(peers, entry.port, entry.protocol)
                    found[look] = list(self._peers.with_port(*look))
                    for number, subset in found[look]:
                        yield Rule((subset,), (PortMatch(entry.protocol, number, number),), ref)

    def _peer_ids(self, policy: Policy, rule: PolicyRule) -> tuple[str, ...] | None:
        if rule.peers is None:
            return None
        return tuple(dict.fromkeys(self._peers.of(peer, policy.id.namespace) for peer in rule.peers))


def _rules(policy: Policy, way: Way) -> tuple[PolicyRule, ...] | None:
    return policy.ingress if way is Way.INGRESS else policy.egress


def _names_used(policies: tuple[Policy, ...]) -> frozenset[str]:
    return frozenset(
        entry.port
        for policy in policies
        for rule in policy.ingress or ()
        for entry in rule.ports or ()
        if isinstance(entry.port, str)
    )


def _numeric(rule: PolicyRule) -> tuple[PortMatch, ...] | None:
    if not rule.ports:
        return None
    found = []
    for entry in rule.ports:
        if isinstance(entry.port, int):
            found.append(PortMatch(entry.protocol, entry.port, entry.end or entry.port))
        elif entry.port is None:
            found.append(PortMatch(entry.protocol, 0, 65535))
    return tuple(found)


def _ingress_ports(rule: PolicyRule, resolved: tuple[NamedPort, ...]) -> tuple[PortMatch, ...] | None:
    numeric = _numeric(rule)
    if numeric is None:
        return None
    named = [
        PortMatch(entry.protocol, port.number, port.number)
        for entry in rule.ports or ()
        for port in resolved
        if (port.name, port.protocol) == (entry.port, entry.protocol)
    ]
    return (*numeric, *named)
