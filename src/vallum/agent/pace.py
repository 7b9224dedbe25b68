"""When to reconcile: at once, but not more often than every `least` seconds, and at the latest every `most`.

Pure: times come in as arguments, so tests walk through hours in no time.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Seconds on any clock that does not go backwards."""

    least: float
    most: float
    last: float = float("-inf")
    wanted: bool = True
    failures: int = 0

    def want(self) -> None:
        """Something changed."""
        self.wanted = True

    def wait(self, now: float) -> float:
        """Seconds until the next reconcile is due; 0 means now."""
        earliest = self.last + max(self.least, self._penalty())
        due = earliest if self.wanted else self.last + self.most
        return max(0.0, due - now)

    def started(self) -> None:
        """A reconcile begins: what changes from now on wants another."""
        self.wanted = False

    def ended(self, now: float, *, fine: bool) -> None:
        """A reconcile ended. A failed one is wanted again, later with every failure up to `most`."""
        self.last = now
        self.failures = 0 if fine else self.failures + 1
        self.wanted = self.wanted or not fine

    def _penalty(self) -> float:
        return min(self.most, 0.05 * 2 ** min(self.failures, 12)) if self.failures else 0.0
