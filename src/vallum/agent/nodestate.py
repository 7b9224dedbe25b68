"""What an agent publishes of its node: a NodeState object (deploy/crds), and when it may be written.

Pure. The API is shared by all nodes, so a write is rare: the first at once, then at most one in ten seconds, and one in
five minutes when nothing changed, each a little later than that by chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vallum import __version__

GROUP, VERSION, KIND, PLURAL = "vallum.dev", "v1alpha1", "NodeState", "nodestates"
LEAST, MOST, SPREAD = 10.0, 300.0, 0.25
"""Seconds between two writes: at least, at most, and the share of it that chance adds."""


@dataclass(frozen=True, slots=True)
class Due:
    """When the next write may go out. `chance` in 0..1 is drawn anew for each write."""

    last: float | None = None
    chance: float = 0.0

    def wait(self, now: float, *, changed: bool) -> float:
        """Seconds until a write is due, 0 for now."""
        if self.last is None:
            return 0.0
        gap = (LEAST if changed else MOST) * (1 + SPREAD * self.chance)
        return max(0.0, self.last + gap - now)


def path(node: str = "") -> str:
    """Where the API server keeps them, or the one of this node."""
    return f"/apis/{GROUP}/{VERSION}/{PLURAL}" + (f"/{node}" if node else "")


def state(facts: Mapping[str, Any], addresses: tuple[str, ...]) -> dict[str, Any]:
    """The status of a NodeState, from the facts of the agent's own status."""
    last = facts["repairs"][-1] if facts["repairs"] else None
    return {
        "policyRevision": facts["revision"] or "",
        "ready": facts["revision"] is not None and facts["kernel"] is None,
        "plane": facts["plane"],
        "backend": facts["backend"],
        "mtu": (facts.get("network") or {}).get("mtu") or 0,
        "policies": facts.get("policies", 0),
        "pods": len(facts["pods"]),
        "addresses": list(addresses),
        "started": facts["started"],
        "version": __version__,
        "repaired": facts["repaired"],
        "lastRepair": f"{last['at']} {last['what']}: {last['how']} by {last['by']}" if last else "",
        "lastError": facts["kernel"] or "",
        "lastErrorSince": facts["kernel_since"] or "",
        "problems": facts["problems"],
    }


def document(node: str, uid: str, status: Mapping[str, Any], updated: str) -> dict[str, Any]:
    """The whole object. Its node owns it, so that it goes when the node goes."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": node, "ownerReferences": [owner]},
        "status": {**status, "updated": updated},
    }
