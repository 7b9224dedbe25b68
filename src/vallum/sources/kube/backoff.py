"""How long to wait before the next try: longer after each failure, up to a limit, and never all at the same moment.

A thousand agents lose the API at one instant; without chance they would all come back at one.
"""

from collections.abc import Callable
from dataclasses import dataclass

FIRST, MOST = 0.2, 20.0


@dataclass(slots=True)
class Backoff:
    """`chance` gives numbers from 0 to 1."""

    chance: Callable[[], float]
    failures: int = 0

    def reset(self) -> None:
        """All is well again."""
        self.failures = 0

    def wait(self, least: float = 0.0) -> float:
        """Seconds to wait after one more failure; at least `least` and a little more, where the server said so."""
        spread = 0.5 + self.chance() / 2
        wait = spread * min(MOST, FIRST * (1 << min(self.failures, 16)))
        self.failures += 1
        return max(wait, least * (1 + self.chance() / 4))
