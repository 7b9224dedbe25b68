"""Sets of services: sorted, disjoint ranges of ports, and everything that has no ports as one protocol of its own.

With that stand-in, "everything" is a set like any other, and what two ends share, or what a change adds, is arithmetic.
"""

from collections.abc import Iterable

from vallum.model.objects import PROTOCOLS
from vallum.model.packet import PORTED
from vallum.policy.ruleset import WHOLE, PortMatch

PORTLESS = 0
"""Stands for every protocol without ports, ICMP among them. No rule tells two of them apart (stance 15)."""

Ports = tuple[PortMatch, ...]
NOTHING: Ports = ()
EVERYTHING: Ports = tuple(PortMatch(number, 0, WHOLE) for number in (PORTLESS, *sorted(PROTOCOLS.values())))

_NAMES = {number: name for name, number in PROTOCOLS.items()} | {PORTLESS: "portless"}


def normal(matches: Iterable[PortMatch]) -> Ports:
    """These ranges sorted, those that touch joined."""
    found: list[PortMatch] = []
    for match in sorted(matches):
        last = found[-1] if found else None
        if last and last.protocol == match.protocol and match.first <= last.last + 1:
            found[-1] = PortMatch(last.protocol, last.first, max(last.last, match.last))
        else:
            found.append(match)
    return tuple(found)


def either(one: Ports, other: Ports) -> Ports:
    """What is in at least one."""
    return one if one == other else normal((*one, *other))


def both(one: Ports, other: Ports) -> Ports:
    """What is in each of them."""
    if EVERYTHING in (one, other):
        return other if one == EVERYTHING else one
    return normal(
        PortMatch(left.protocol, max(left.first, right.first), min(left.last, right.last))
        for left in one
        for right in other
        if left.protocol == right.protocol and left.first <= right.last and right.first <= left.last
    )


def without(one: Ports, other: Ports) -> Ports:
    """What is in the first and not in the other."""
    if one == other:
        return NOTHING
    return both(one, _rest(other)) if other else one


def _rest(ports: Ports) -> Ports:
    found = []
    for whole in EVERYTHING:
        first = 0
        for match in ports:
            if match.protocol == whole.protocol:
                if first < match.first:
                    found.append(PortMatch(whole.protocol, first, match.first - 1))
                first = match.last + 1
        if first <= WHOLE:
            found.append(PortMatch(whole.protocol, first, WHOLE))
    return tuple(found)


def holds(ports: Ports, protocol: int, port: int) -> bool:
    """Reports whether a packet of this protocol to this port is in the set."""
    wanted = protocol if protocol in PORTED else PORTLESS
    return any(match.protocol == wanted and match.first <= port <= match.last for match in ports)


def texts(ports: Ports) -> list[str]:
    """For people and files: `everything`, or `80/TCP`, `5000-5010/UDP`, `SCTP`, `portless`."""
    return ["everything"] if ports == EVERYTHING else [_text(match) for match in ports]


def _text(match: PortMatch) -> str:
    name = _NAMES[match.protocol]
    if (match.first, match.last) == (0, WHOLE):
        return name
    span = f"{match.first}" if match.first == match.last else f"{match.first}-{match.last}"
    return f"{span}/{name}"
