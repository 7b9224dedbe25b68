"""Denials: the drop that the kernel recorded, with the reason that the compiler gives for it.

The reason is judged against the Ruleset of the revision that the kernel held, so log and explain cannot disagree.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vallum.analysis.asked import Asked
from vallum.dataplane import Denial
from vallum.flows.header import Header, parse
from vallum.model.address import Packed, show
from vallum.model.packet import Direction, Packet
from vallum.policy.judge import Judge, mirrored
from vallum.policy.ruleset import Local, Way

_REMEMBERED = 4096
"""Reasons kept for denials that come again."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One denied packet. `way` is the side that dropped it; `reply`: judged as an answer to a flow."""

    serial: int
    way: Way
    reply: bool
    header: Header
    source: str
    destination: str
    reason: str

    def facts(self) -> dict[str, Any]:
        """As plain data for the agent's socket."""
        header = self.header
        return {
            "serial": self.serial,
            "way": str(self.way),
            "reply": self.reply,
            "source": show(header.source),
            "destination": show(header.destination),
            "protocol": header.protocol,
            "sport": header.sport,
            "dport": header.dport,
            "icmp_type": header.icmp_type,
            "icmp_id": header.icmp_id,
            "from": self.source,
            "to": self.destination,
            "reason": self.reason,
        }


class Drops:
    """The last denials, oldest forgotten first, and how many there have been."""

    def __init__(self, size: int = 4096) -> None:
        self.ring: deque[Drop] = deque(maxlen=size)
        self.count = 0
        self._judge: object = None
        self._reasons: dict[object, str] = {}

    def add(self, denial: Denial, judge: Judge, asked: Asked) -> Drop | None:
        """Join a record with names and its reason and keep it. None when it is no IP packet.

        `judge` and `asked` speak of the revision that the kernel holds.
        """
        self.count += 1
        header = parse(denial.packet)
        if header is None:
            return None
        source, target = (_name(judge.owners, address) for address in (header.source, header.destination))
        reason = self._why(header, denial, judge, asked)
        drop = Drop(self.count, denial.way, denial.reply, header, source, target, reason)
        self.ring.append(drop)
        return drop

    def _why(self, header: Header, denial: Denial, judge: Judge, asked: Asked) -> str:
        """Judging is linear in the rules, and a denied client tries again: the same question is answered once."""
        ends = header.source, header.destination, header.protocol, header.sport if denial.reply else header.dport
        key = (denial.way, denial.reply, denial.spoofed, denial.unknown, *ends)
        if self._judge is not judge or len(self._reasons) >= _REMEMBERED:
            self._judge = judge
            self._reasons.clear()
        if key not in self._reasons:
            self._reasons[key] = _reason(header, denial, judge, asked)
        return self._reasons[key]


def _name(owners: Mapping[Packed, Local], address: Packed) -> str:
    local = owners.get(address)
    return str(local.pod) if local else show(address)


def _reason(header: Header, denial: Denial, judge: Judge, asked: Asked) -> str:
    if denial.spoofed:
        return f"{show(header.source)} is not an address of the end that sent this packet"
    if denial.unknown:
        return "an end of it is an address of this node's pods that no living pod is known to have; it stays closed"
    sender = judge.owners.get(header.source)
    direction = Direction.REPLY if denial.reply else Direction.ORIGINAL
    ends = header.source, header.destination
    packet = Packet(
        *ends, header.protocol, header.dport, header.sport, direction, sender.pod if sender else None, header.icmp_type
    )
    verdict = judge(packet)
    side = verdict.ingress if denial.way is Way.INGRESS else verdict.egress
    if side.allow:
        return f"denied by an earlier revision; now: {side.text}"
    from vallum.analysis.explain import reason  # noqa: PLC0415 - enforcing must not wait for what no drop needed yet

    return reason(asked, mirrored(packet) if denial.reply else packet, denial.way, side)
