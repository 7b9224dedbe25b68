"""Overlapping address ranges cut into disjoint ones, each with the sets that cover it (a sweep over end points)."""

from collections.abc import Mapping

from vallum.model.address import Packed
from vallum.policy.sets import Span


def cut(sets: Mapping[str, tuple[Span, ...]]) -> list[tuple[Span, frozenset[str]]]:
    """Disjoint sorted spans with the ids of all sets that cover them. O(n log n) plus the cover sizes."""
    edges: dict[Packed, tuple[list[str], list[str]]] = {}
    for id_, spans in sets.items():
        for low, high in spans:
            edges.setdefault(low, ([], []))[0].append(id_)
            edges.setdefault(Packed(high + 1), ([], []))[1].append(id_)
    found: list[tuple[Span, frozenset[str]]] = []
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
