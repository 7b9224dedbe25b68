"""Overlapping address ranges cut into disjoint ones, each with the sets that cover it (a sweep over end points).

Most blocks overlap no other: only those that do are swept.
"""

from collections.abc import Mapping, Sequence

from vallum.model.address import Packed
from vallum.policy.sets import Span

Piece = tuple[Span, frozenset[str]]
"""A range, and the ids of the sets that cover it."""
_Part = tuple[Packed, Packed, str]


def cut(sets: Mapping[str, tuple[Span, ...]]) -> list[Piece]:
    """Disjoint sorted spans with the ids of all sets that cover them. O(n log n) plus the cover sizes."""
    parts = sorted([(low, high, id_) for id_, spans in sets.items() for low, high in spans])
    found: list[Piece] = []
    start, end = 0, Packed(-1)  # those that overlap, one the next, begin at `start` and reach up to `end`
    for index, (low, high, id_) in enumerate(parts):
        if low <= end:
            end = max(end, high)
            continue
        if index - start > 1:
            found[-1:] = _swept(parts[start:index])
        found.append(((low, high), frozenset((id_,))))
        start, end = index, high
    if len(parts) - start > 1:
        found[-1:] = _swept(parts[start:])
    return found


def _swept(parts: Sequence[_Part]) -> list[Piece]:
    edges: dict[Packed, tuple[list[str], list[str]]] = {}
    for low, high, id_ in parts:
        edges.setdefault(low, ([], []))[0].append(id_)
        edges.setdefault(Packed(high + 1), ([], []))[1].append(id_)
    found: list[Piece] = []
    covering: set[str] = set()
    previous = Packed(0)
    for point in sorted(edges):
        if covering:
            found.append(((previous, Packed(point - 1)), frozenset(covering)))
        opened, closed = edges[point]
        covering.difference_update(closed)
        covering.update(opened)
        previous = point
    return found
