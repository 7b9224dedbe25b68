"""Which policies are responsible for what opened or closed between two ends: both worlds are asked, and compared.

Named where it can be derived: a rule that allows now or did, a policy that isolates now or did. What comes from
labels or addresses alone shows as the rule that began or ceased to allow.
"""

from dataclasses import dataclass
from typing import Any

from vallum.analysis.compared import NEW, OLD, Answer, Point
from vallum.analysis.ranges import PORTLESS, Ports
from vallum.model.objects import ICMP, PodId
from vallum.model.packet import Packet
from vallum.policy.judge import Judge
from vallum.policy.ruleset import Ruleset, Way
from vallum.policy.verdict import Reason, Verdict, Why

_SPORT = 40000


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """A policy, or one of its rules, and what it does now that it did not, or did and does no more."""

    policy: str
    way: str
    rule: int
    effect: str

    def __str__(self) -> str:
        where = self.policy if self.rule < 0 else f"{self.policy} {self.way}[{self.rule}]"
        return f"{where} {self.effect}" + (f" for {self.way}" if self.rule < 0 else "")

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        rule = {} if self.rule < 0 else {"rule": self.rule}
        return {"policy": self.policy, "direction": self.way} | rule | {"effect": self.effect}


class Causes:
    """Asks the judges of two worlds. The same pair of kinds is asked once."""

    def __init__(self, old: Ruleset, new: Ruleset) -> None:
        self._judges = (Judge(old), Judge(new))
        self._known: dict[tuple[int, Ports], frozenset[Cause]] = {}

    def of(self, answer: Answer, ports: Ports) -> frozenset[Cause]:
        """Of what opened or closed between the two ends of an answer; one service of it stands for all."""
        key = (id(answer), ports)
        if key not in self._known:
            before, after = (self._verdict(world, answer, ports) for world in (OLD, NEW))
            found = [*_causes(before.ingress, after.ingress, Way.INGRESS)]
            found += _causes(before.egress, after.egress, Way.EGRESS)
            self._known[key] = frozenset(found)
        return self._known[key]

    def _verdict(self, world: int, answer: Answer, ports: Ports) -> Verdict:
        service = ports[0]
        source, target = answer.source.members[world], answer.target.members[world]
        assert source, "both ends are in both worlds"
        assert target, "both ends are in both worlds"
        portless = service.protocol == PORTLESS
        return self._judges[world](
            Packet(
                source.address,
                target.address,
                ICMP if portless else service.protocol,
                0 if portless else service.first,
                0 if portless else _SPORT,
                sender=_pod(answer.source),
            )
        )


def _pod(point: Point) -> PodId | None:
    namespace, _, name = point.name.partition("/")
    return PodId(namespace, name) if point.inside else None


def _causes(before: Why, after: Why, way: Way) -> list[Cause]:
    """What changed on one side. A side that answers as it did is not responsible."""
    if before.allow == after.allow:
        return []
    now, then = (after, before) if after.allow else (before, after)
    if now.kind is Reason.RULE and now.rule:
        effect = "allows it" if after.allow else "no longer allows it"
        return [Cause(str(now.rule.policy), str(way), now.rule.index, effect)]
    effect = "no longer isolates" if after.allow else "isolates"
    return [Cause(str(id_), str(way), -1, effect) for id_ in then.policies]
