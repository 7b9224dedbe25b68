"""What the agent says of itself: one value that `vallum status`, the lab and tests read."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vallum.agent.reconcile import Report, facts
from vallum.agent.settings import Settings


def now() -> str:
    """RFC 3339 in UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(slots=True)
class Status:
    """The last report, the last faults, and the repairs of the last while (newest last)."""

    settings: Settings
    started: str = field(default_factory=now)
    report: Report | None = None
    source_fault: str | None = None
    kernel_fault: str | None = None
    repairs: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=64))
    reconciles: int = 0
    repaired: int = 0
    unrecorded: int = 0

    def repair(self, what: str, by: str, how: str) -> None:
        """Something of ours was changed by somebody else and is restored."""
        self.repaired += 1
        self.repairs.append({"at": now(), "what": what, "by": by, "how": how})

    def facts(self, drops: int) -> dict[str, Any]:
        """As plain data. `enforced` is the revision that the kernel holds, None before the first success."""
        base = facts(self.report) if self.report else {"revision": None, "pods": {}, "problems": []}
        return base | {
            "node": self.settings.node,
            "plane": self.settings.plane,
            "backend": self.settings.backend,
            "started": self.started,
            "healthy": self.report is not None and self.kernel_fault is None and self.source_fault is None,
            "source": self.source_fault,
            "kernel": self.kernel_fault,
            "repairs": list(self.repairs),
            "repaired": self.repaired,
            "reconciles": self.reconciles,
            "drops": drops,
            "unrecorded": self.unrecorded,
        }
