"""What the agent says of itself: one value that `vallum status`, the lab and tests read."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vallum.agent.reconcile import Report, facts, network_facts
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
    source_since: str | None = None
    unread: tuple[str, ...] = ()
    unwired: tuple[str, ...] = ()
    kernel_fault: str | None = None
    kernel_since: str | None = None
    repairs: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=64))
    reconciles: int = 0
    repaired: int = 0
    unrecorded: int = 0

    def source_is(self, fault: str | None, since: str | None = None) -> None:
        """What is wrong with the source, None when it is fine. It is said since when."""
        self.source_since = (since or self.source_since or now()) if fault else None
        self.source_fault = fault

    def kernel_is(self, fault: str | None) -> None:
        """What the kernel refuses, None when it holds what it should."""
        self.kernel_since = (self.kernel_since or now()) if fault else None
        self.kernel_fault = fault

    def unready(self) -> str | None:
        """Why the kernel does not hold the Ruleset of the world, None where it does."""
        if self.kernel_fault is not None:
            return f"the kernel refuses: {self.kernel_fault}"
        if self.report is None:
            return f"nothing is enforced yet: {self.source_fault or 'the world is being read'}"
        return None

    def repair(self, what: str, by: str, how: str) -> None:
        """Something of ours was changed by somebody else and is restored."""
        self.repaired += 1
        self.repairs.append({"at": now(), "what": what, "by": by, "how": how})

    def facts(self, drops: int) -> dict[str, Any]:
        """As plain data. `enforced` is the revision that the kernel holds, None before the first success."""
        base = facts(self.report) if self.report else {"revision": None, "pods": {}, "closed": [], "problems": []}
        return base | {
            "problems": [*self.unread, *self.unwired, *base["problems"]],
            "node": self.settings.node,
            "plane": self.settings.plane,
            "backend": self.settings.backend,
            "network": network_facts(self.report, self.settings) if self.report else None,
            "started": self.started,
            "healthy": self.report is not None and self.kernel_fault is None and self.source_fault is None,
            "source": self.source_fault,
            "source_since": self.source_since,
            "kernel": self.kernel_fault,
            "kernel_since": self.kernel_since,
            "repairs": list(self.repairs),
            "repaired": self.repaired,
            "reconciles": self.reconciles,
            "drops": drops,
            "unrecorded": self.unrecorded,
        }
