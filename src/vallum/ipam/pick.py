"""Which address of a block comes next: the one that is free longest, never one that is closed or in use. Pure.

An address that was never used was free for ever, so those go first, lowest first. What it ignores: whether the address
still rests (its caller compares times), and who asks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator

from vallum.ipam.records import Block
from vallum.model.address import Packed

NEVER = float("-inf")


class Spans:
    """Ranges of addresses as a sorted, merged list."""

    def __init__(self, spans: Iterable[tuple[Packed, Packed]] = ()) -> None:
        self._firsts: list[Packed] = []
        self._lasts: list[Packed] = []
        for first, last in spans:
            self.add(first, last)

    def add(self, first: Packed, last: Packed) -> None:
        """Put a range in; both ends belong to it."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def end_of(self, address: Packed) -> Packed | None:
        """The last address of the range that this one lies in; None if it lies in none."""
        at = bisect_right(self._firsts, address) - 1
        return self._lasts[at] if at >= 0 and address <= self._lasts[at] else None

    def inside(self, first: Packed, last: Packed) -> Iterator[tuple[Packed, Packed]]:
        """The parts of its ranges that lie between two addresses."""
        for at in range(bisect_left(self._lasts, first), bisect_right(self._firsts, last)):
            yield max(first, self._firsts[at]), min(last, self._lasts[at])


def longest_free(block: Block, closed: Spans, strays: Container[Packed]) -> tuple[float, int] | None:
    """When it was freed, and the offset, of the address that is free longest; None where none is free."""
    if len(block.used) + len(block.freed) < block.size:
        fresh = _fresh(block, closed, strays)
        if fresh is not None:
            return NEVER, fresh
    found = sorted((at, offset) for offset, at in block.freed.items()) if len(block.freed) > 1 else _only(block)
    for at, offset in found:
        address = Packed(block.first + offset)
        if closed.end_of(address) is None and address not in strays:
            return at, offset
    return None


def _only(block: Block) -> list[tuple[float, int]]:
    return [(at, offset) for offset, at in block.freed.items()]


def _fresh(block: Block, closed: Spans, strays: Container[Packed]) -> int | None:
    used, freed, first = block.used, block.freed, block.first
    offset, size = 0, block.size
    while offset < size:
        if offset in used or offset in freed:
            offset += 1
            continue
        end = closed.end_of(Packed(first + offset))
        if end is not None:
            offset = end - first + 1  # over the whole range at once
        elif first + offset in strays:
            offset += 1
        else:
            return offset
    return None
