"""What a verdict is asked about: the header of one packet, as the pods see it (after DNAT, before SNAT)."""

from dataclasses import dataclass
from enum import Enum

from vallum.model.address import Packed
from vallum.model.objects import ICMP, ICMPV6, PROTOCOLS, PodId

PORTED = frozenset(PROTOCOLS.values())
"""Protocols that have ports."""

_ICMP_ERRORS = {ICMP: frozenset({3, 4, 5, 11, 12}), ICMPV6: frozenset({1, 2, 3, 4})}


class Direction(Enum):
    """Where connection tracking puts the packet in its flow; NONE for untracked and invalid ones."""

    ORIGINAL = "original"
    REPLY = "reply"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    `sport`/`dport` are 0 for protocols without ports. `sender` is the pod whose interface it entered
    through, None for anything that entered by another way. `known_flow`: an ICMP error whose inner header
    belongs to a flow that connection tracking knows.
    """

    source: Packed
    destination: Packed
    protocol: int
    dport: int = 0
    sport: int = 0
    direction: Direction = Direction.ORIGINAL
    sender: PodId | None = None
    icmp_type: int | None = None
    known_flow: bool = False

    @property
    def is_icmp_error(self) -> bool:
        """Reports whether this is an ICMP error message (RFC 792, RFC 4443)."""
        return self.icmp_type is not None and self.icmp_type in _ICMP_ERRORS.get(self.protocol, ())
