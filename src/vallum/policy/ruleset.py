"""The middle of the project: what must hold on one node, in the words of policy.

Speaks of pods, peers, ports and reasons; never of chains, hooks, marks or families. Named ports, selectors and
`except` are resolved by `compile`, so that every plane and every question starts from the same facts.
"""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from vallum.model.address import Packed, family
from vallum.model.objects import SCTP, PodId, PolicyId
from vallum.policy.sets import Sets

WHOLE = 65535
"""Last port: a match from 0 to it is the whole protocol."""


class Action(Enum):
    """What a matching rule does. PASS leaves the decision to the next tier."""

    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"  # noqa: S105 - the word of ClusterNetworkPolicy, not a secret


class Way(StrEnum):
    """The direction of a side, spelled as in policyTypes but lower case."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Feature(StrEnum):
    """What a Ruleset may ask of a plane. A plane lists what it can; the rest is refused by name."""

    BLOCKS = "ipBlock"
    RANGES = "endPort"
    SCTP = "SCTP"
    IPV6 = "IPv6"
    TIERS = "tiers"


class PortMatch(NamedTuple):
    """A range of ports of one protocol, both ends included. 0-65535 is the whole protocol."""

    protocol: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where a rule comes from: the policy and the index in its ingress or egress list."""

    policy: PolicyId
    way: Way
    index: int

    def __str__(self) -> str:
        return f"{self.policy} {self.way}[{self.index}]"


class Rule(NamedTuple):
    """One rule of a side. `peers` None: any address. `ports` None: everything, portless protocols too."""

    peers: tuple[str, ...] | None
    ports: tuple[PortMatch, ...] | None
    why: RuleRef
    action: Action = Action.ALLOW
    tier: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of one or more pods. Pods with the same policies share one object: a profile."""

    name: str
    policies: tuple[PolicyId, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def isolated(self) -> bool:
        """Reports whether some policy selects the pod in this direction."""
        return bool(self.policies)


OPEN = Side("open")


@dataclass(frozen=True, slots=True)
class Local:
    """A pod of this node. `host` holds the addresses that are local to its node."""

    pod: PodId
    addresses: tuple[Packed, ...]
    ingress: Side
    egress: Side
    host: frozenset[Packed]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What must hold on `node` (None: every pod taken as local)."""

    node: str | None
    locals: tuple[Local, ...] = ()
    sets: Sets = field(default_factory=Sets)
    revision: str = ""

    def features(self) -> frozenset[Feature]:
        """What a plane must be able to express for this Ruleset."""
        rules = [rule for local in self.locals for side in (local.ingress, local.egress) for rule in side.rules]
        matches = [match for rule in rules for match in rule.ports or ()]
        asked = {
            Feature.BLOCKS: any(shape.spans for shape in self.sets.shapes.values()),
            Feature.RANGES: any(0 < match.last - match.first < WHOLE for match in matches),
            Feature.SCTP: any(match.protocol == SCTP for match in matches),
            Feature.IPV6: any(family(address) == 6 for local in self.locals for address in local.addresses),
            Feature.TIERS: any(rule.action is not Action.ALLOW for rule in rules),
        }
        return frozenset(feature for feature, needed in asked.items() if needed)

    def owners(self) -> dict[Packed, Local]:
        """Local pods by address."""
        return {address: local for local in self.locals for address in local.addresses}
