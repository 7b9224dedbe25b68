"""A verdict with its reasons: the one value that tests, explain, the flow log and the page share."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vallum.model.objects import PolicyId
from vallum.policy.ruleset import RuleRef, Way


class Reason(StrEnum):
    """Why a side allows or denies; spelled as in the published verdict format."""

    NOT_ISOLATED = "not-isolated"
    RULE = "rule"
    ISOLATED = "isolated"
    SELF = "self"
    OWN_NODE = "own-node"
    OUTSIDE = "outside"
    SPOOFED = "spoofed"
    ICMP_ERROR = "icmp-error"


_DENIALS = frozenset({Reason.ISOLATED, Reason.SPOOFED})


@dataclass(frozen=True, slots=True)
class Why:
    """One side's reason. `policies` isolate the pod; `rule` admitted it."""

    kind: Reason
    text: str
    policies: tuple[PolicyId, ...] = ()
    rule: RuleRef | None = None

    @property
    def allow(self) -> bool:
        """Reports whether this side lets the packet pass."""
        return self.kind not in _DENIALS

    def facts(self, way: Way) -> dict[str, Any]:
        """The side of the published verdict (docs/formats): verdict and why."""
        why: dict[str, Any] = {"kind": str(self.kind), "policies": [str(id_) for id_ in self.policies]}
        if self.rule is not None:
            why |= {"policy": str(self.rule.policy), "direction": str(way), "rule": self.rule.index}
        return {"verdict": "allow" if self.allow else "deny", "why": why | {"text": self.text}}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one packet: it passes when both sides allow it."""

    ingress: Why
    egress: Why

    @property
    def allow(self) -> bool:
        """Reports whether the packet passes."""
        return self.ingress.allow and self.egress.allow

    def facts(self) -> dict[str, Any]:
        """The published verdict as plain data, without the probe's own keys."""
        return {
            "verdict": "allow" if self.allow else "deny",
            "ingress": self.ingress.facts(Way.INGRESS),
            "egress": self.egress.facts(Way.EGRESS),
        }
