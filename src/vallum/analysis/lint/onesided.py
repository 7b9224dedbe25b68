"""Connections that one end allows and the other never does: a rule that opens nothing.

Egress to pods whose ingress policies admit none of the senders, and ingress from pods whose egress policies let none
of them out. Judged for every pair of kinds, ports included; where a rule joins too many to look at, nothing is said.
"""

from collections.abc import Iterable, Iterator

from vallum.analysis.lint.facts import Facts, Kind, each_peer, each_rule, rules_of, some
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.model.objects import Policy, PolicyRule
from vallum.policy.ruleset import Way

_PAIRS = 2000

_Door = tuple[frozenset[Kind] | None, PolicyRule]
"""Whom a rule admits, None for everybody, and the rule."""

Ranges = tuple[tuple[int, int, int], ...]
"""(protocol, first, last)."""


def one_sided(facts: Facts) -> Iterator[Finding]:
    """Peers whose own policies refuse the connection."""
    doors = _Doors(facts)
    for policy in facts.policies:
        subjects = facts.subjects(policy)
        for way, path, rule in each_rule(policy):
            for place, peer in each_peer(way, path, rule):
                others = facts.peers(peer, policy.id.namespace)
                if subjects and others and _refused(doors, way, rule, subjects, others):
                    yield _finding(policy, way, place, others)


def _finding(policy: Policy, way: Way, path: Path, others: tuple[Kind, ...]) -> Finding:
    if way is Way.EGRESS:
        text = f"nothing gets there: the policies of {some(others)} admit nothing of this"
        return about(policy, "egress-refused", path, text, "allow it in an ingress rule there, or remove this peer")
    text = f"nothing comes from there: the policies of {some(others)} let nothing of this out"
    return about(policy, "ingress-unreachable", path, text, "allow it in an egress rule there, or remove this peer")


def _other(way: Way) -> Way:
    return Way.EGRESS if way is Way.INGRESS else Way.INGRESS


class _Doors:
    """What the policies of a kind let through in one direction: to or from whom, by which rule."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._isolated = {way: {kind for kind, isolated in facts.isolating if isolated is way} for way in Way}
        self._opened: dict[tuple[Kind, Way], tuple[_Door, ...]] = {}
        self._admitted: dict[tuple[Kind, Way], frozenset[Kind] | None] = {}

    def shut(self, kinds: Iterable[Kind], way: Way) -> bool:
        """Reports whether each of them is isolated."""
        return self._isolated[way].issuperset(kinds)

    def of(self, kind: Kind, way: Way) -> "tuple[_Door, ...]":
        """Each rule with the kinds that it admits; None for everybody."""
        if (kind, way) not in self._opened:
            self._opened[kind, way] = tuple(
                (self._members(policy, rule), rule)
                for policy in self._facts.isolating[kind, way]
                for rule in rules_of(policy, way) or ()
            )
        return self._opened[kind, way]

    def admitted(self, kind: Kind, way: Way) -> frozenset[Kind] | None:
        """All kinds that some rule admits, ports aside; None for everybody."""
        if (kind, way) not in self._admitted:
            found: set[Kind] = set()
            doors = self.of(kind, way)
            for members, _ in doors:
                found |= members or frozenset()
            everybody = any(members is None for members, _ in doors)
            self._admitted[kind, way] = None if everybody else frozenset(found)
        return self._admitted[kind, way]

    def _members(self, policy: Policy, rule: PolicyRule) -> frozenset[Kind] | None:
        if rule.peers is None:
            return None
        facts, space = self._facts, policy.id.namespace
        return frozenset(
            kind
            for peer in rule.peers
            for kind in (facts.inside(peer.block) if peer.block else facts.peers(peer, space))
        )


def _refused(doors: _Doors, way: Way, rule: PolicyRule, subjects: tuple[Kind, ...], others: tuple[Kind, ...]) -> bool:
    """Reports whether the other side refuses every pair. A pod always reaches itself, so such pairs do not count."""
    other = _other(way)
    if not doors.shut(others, other):
        return False
    if len(subjects) * len(others) > _PAIRS or (subjects == others and _alone(subjects)):
        return False
    for theirs in others:
        admitted = doors.admitted(theirs, other)
        for mine in subjects:
            if admitted is not None and mine not in admitted:
                continue
            if _alone((mine,)) and mine is theirs:
                continue
            if _meets(doors, way, rule, mine, theirs):
                return False
    return True


def _alone(kinds: tuple[Kind, ...]) -> bool:
    """Reports whether this is one pod."""
    return len(kinds) == 1 and len(kinds[0].pods) == 1


def _meets(doors: _Doors, way: Way, rule: PolicyRule, mine: Kind, theirs: Kind) -> bool:
    """Reports whether some rule of the other end lets through some of what this rule lets through."""
    target = theirs if way is Way.EGRESS else mine
    ranges = _ranges(rule, target)
    return any(
        _shared(ranges, _ranges(answer, target))
        for members, answer in doors.of(theirs, _other(way))
        if members is None or mine in members
    )


def _ranges(rule: PolicyRule, target: Kind) -> Ranges | None:
    """The ports of a rule on a kind; None for everything."""
    if not rule.ports:
        return None
    found = []
    for entry in rule.ports:
        if isinstance(entry.port, str):
            named = target.named.get(entry.port, ())
            found += [(protocol, number, number) for protocol, number in named if protocol == entry.protocol]
        elif entry.port is None:
            found.append((entry.protocol, 0, 65535))
        else:
            found.append((entry.protocol, entry.port, entry.end or entry.port))
    return tuple(found)


def _shared(one: Ranges | None, other: Ranges | None) -> bool:
    if one is None or other is None:
        return one != () and other != ()
    return any(a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2] for a in one for b in other)
