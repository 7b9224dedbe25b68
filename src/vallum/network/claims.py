"""Which ranges are whose. No two overlap: whoever comes second is told whom he would take something from.

Pure. What it ignores: why anybody has a range.
"""

from bisect import bisect_right

from vallum.model.address import Network, Packed, span


class Claims:
    """Ranges and their holders, in the order of addresses."""

    def __init__(self) -> None:
        self._starts: list[Packed] = []
        self._held: list[tuple[Packed, Network, str]] = []

    def taken(self, network: Network, holder: str) -> tuple[Network, str] | None:
        """Note a range, or tell which one that was noted it overlaps."""
        first, last = span(network)
        at = bisect_right(self._starts, first)
        if at and self._held[at - 1][0] >= first:
            return self._held[at - 1][1:]
        if at < len(self._starts) and self._starts[at] <= last:
            return self._held[at][1:]
        self._starts.insert(at, first)
        self._held.insert(at, (last, network, holder))
        return None
