"""Port classes: (protocol, port) values that no rule of a direction can tell apart.

Class 0 stands for portless protocols and for every port that nothing mentions: only "everything" covers it.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from vallum.policy.ruleset import PortMatch

PORTLESS = 0


@dataclass(frozen=True, slots=True)
class PortClasses:
    """Disjoint sorted ranges, each with its class; a value in none of them is class 0."""

    ranges: tuple[tuple[PortMatch, int], ...]

    def find(self, protocol: int, port: int) -> int:
        """The class of one value."""
        key = PortMatch(protocol, port, 65536)
        index = bisect_right(self.ranges, key, key=lambda entry: entry[0]) - 1
        if index < 0:
            return PORTLESS
        match, number = self.ranges[index]
        return number if match.protocol == protocol and port <= match.last else PORTLESS

    def of(self, matches: frozenset[PortMatch] | None) -> frozenset[int] | None:
        """The classes that these matches cover; None stays None (everything)."""
        if matches is None:
            return None
        return frozenset(number for match in matches for number in self._within(match))

    def _within(self, match: PortMatch) -> Iterable[int]:
        start = bisect_right(self.ranges, PortMatch(match.protocol, match.first, -1), key=lambda entry: entry[0])
        for piece, number in self.ranges[start:]:
            if piece.protocol != match.protocol or piece.first > match.last:
                return
            yield number

    def matches(self, classes: frozenset[int]) -> tuple[PortMatch, ...]:
        """The ranges of these classes, neighbours joined: what a plane writes down."""
        found: list[PortMatch] = []
        for piece, number in self.ranges:
            if number not in classes:
                continue
            last = found[-1] if found else None
            if last and last.protocol == piece.protocol and last.last + 1 == piece.first:
                found[-1] = PortMatch(last.protocol, last.first, piece.last)
            else:
                found.append(piece)
        return tuple(found)


def port_classes(asked: Iterable[frozenset[PortMatch]]) -> PortClasses:
    """The classes of all ports that anybody asks for. Two ports are one class when all who ask treat them alike."""
    users: dict[PortMatch, set[int]] = {}
    for number, matches in enumerate(dict.fromkeys(asked)):
        for match in matches:
            users.setdefault(match, set()).add(number)
    columns: dict[frozenset[int], int] = {}
    ranges = []
    for piece, covering in _pieces(users):
        column = frozenset().union(*(users[match] for match in covering))
        ranges.append((piece, columns.setdefault(column, len(columns) + 1)))
    return PortClasses(tuple(ranges))


def _pieces(matches: Iterable[PortMatch]) -> list[tuple[PortMatch, tuple[PortMatch, ...]]]:
    """Disjoint sorted pieces of overlapping matches, each with the matches that cover it."""
    opening: dict[tuple[int, int], list[PortMatch]] = {}
    closing: dict[tuple[int, int], list[PortMatch]] = {}
    for match in matches:
        opening.setdefault((match.protocol, match.first), []).append(match)
        closing.setdefault((match.protocol, match.last + 1), []).append(match)
    found = []
    covering: dict[PortMatch, None] = {}
    previous = (0, 0)
    for point in sorted({*opening, *closing}):
        if covering and point[0] == previous[0]:
            found.append((PortMatch(point[0], previous[1], point[1] - 1), tuple(covering)))
        for match in closing.get(point, ()):
            del covering[match]
        for match in opening.get(point, ()):
            covering[match] = None
        previous = point
    return found
