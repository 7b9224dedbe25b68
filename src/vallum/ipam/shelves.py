"""Indexes that find a block without looking at the others: which are made, and which have an address to give. Pure.

They are hints over the records of a State, kept up to date by it and checked against the records when they are read, so
that the clock may move between two looks. What they ignore: what a block is for.
"""

from bisect import bisect_right
from collections.abc import Callable
from heapq import heappop, heappush

from vallum.ipam.choose import REST
from vallum.model.address import Packed

Since = Callable[[Packed], float | None]
"""When the address of this block that is free longest was freed (-inf: never used); None: nothing here to give."""


class Runs:
    """A set of numbers as runs, so that the first number that is missing costs nothing to find."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # first number behind each run

    def __contains__(self, number: int) -> bool:
        return self.past(number) != number

    def past(self, number: int) -> int:
        """The first number from this one on that is not in the set."""
        at = bisect_right(self._starts, number) - 1
        return max(number, self._ends[at]) if at >= 0 else number

    def add(self, number: int) -> None:
        """Put a number in; nothing happens if it is there."""
        if number in self:
            return
        at = bisect_right(self._starts, number)
        left = at > 0 and self._ends[at - 1] == number
        right = at < len(self._starts) and self._starts[at] == number + 1
        if left and right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif left:
            self._ends[at - 1] = number + 1
        elif right:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number + 1)

    def discard(self, number: int) -> None:
        """Take a number out; nothing happens if it is not there."""
        if number not in self:
            return
        at = bisect_right(self._starts, number) - 1
        start, end = self._starts[at], self._ends[at]
        self._starts[at : at + 1] = [each for each in (start, number + 1) if each not in (number, end)]
        self._ends[at : at + 1] = [each for each, low in ((number, start), (end, number + 1)) if each > low]


class Shelf:
    """Blocks of one owner that have something to give: those with a rested address, and those whose addresses rest."""

    def __init__(self) -> None:
        self._ready: list[Packed] = []
        self._listed: set[Packed] = set()
        self._waiting: list[tuple[float, Packed]] = []  # (end of its rest, block)

    def note(self, block: Packed, since: float | None) -> None:
        """A block was put here, or changed."""
        if since == float("-inf"):
            self._promote(block)
        elif since is not None:
            heappush(self._waiting, (since + REST, block))

    def rested(self, now: float, since_of: Since) -> Packed | None:
        """The first block, by address, with an address that rests no more."""
        while self._waiting and self._waiting[0][0] <= now:
            self._promote(heappop(self._waiting)[1])
        while self._ready:
            block = self._ready[0]
            since = since_of(block)
            if since is not None and since + REST <= now:
                return block
            self._listed.discard(heappop(self._ready))
            self.note(block, since)
        return None

    def longest(self, since_of: Since) -> tuple[float, Packed] | None:
        """The block with the address that rests longest, and since when, after `rested` found none."""
        while self._waiting:
            until, block = self._waiting[0]
            since = since_of(block)
            if since is not None and since + REST == until:
                return since, block
            heappop(self._waiting)
            self.note(block, since)
        return None

    def _promote(self, block: Packed) -> None:
        if block not in self._listed:
            self._listed.add(block)
            heappush(self._ready, block)


class Room:
    """One range that blocks are cut from: that of a leaf, or of one host where each has its own.

    Args:
        first: its first address.
        mask: its prefix length.
        block_mask: prefix length of its blocks.
        bits: 32 or 128.
    """

    def __init__(self, first: Packed, mask: int, block_mask: int, bits: int) -> None:
        self.first = first
        self.mask = mask
        self.shift = bits - block_mask
        self.count = 1 << (block_mask - mask)
        self.made = Runs()
        self.shelves: dict[tuple[str, str] | None, Shelf] = {}

    def shelf(self, owner: tuple[str, str] | None) -> Shelf:
        """The blocks of a host and tenant; None: those that are nobody's."""
        found = self.shelves.get(owner)
        if found is None:
            found = self.shelves[owner] = Shelf()
        return found

    def index(self, block: Packed) -> int:
        """The number of the block that begins there."""
        return (block - self.first) >> self.shift

    def block(self, index: int) -> Packed:
        """Where the block of this number begins."""
        return Packed(self.first + (index << self.shift))
