"""What is enforced where: the policies of the API beside the revisions that the agents published.

Pure. resourceVersions of one kind are whole numbers that only grow (Kubernetes 1.34 promises it, KEP-5504), so a node
that holds revision R holds every policy that was last changed at R or before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vallum.agent.nodestate import LEAST


@dataclass(frozen=True, slots=True)
class PolicyAt:
    """A policy as the API has it. `changed`: when it was last written, RFC 3339."""

    name: str
    revision: int
    changed: str


@dataclass(frozen=True, slots=True)
class Late:
    """A node that does not hold a policy yet, since when, and why as far as its agent has said."""

    node: str
    since: str
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """One policy: on how many of the nodes its latest form is enforced."""

    policy: PolicyAt
    nodes: int
    late: tuple[Late, ...]

    @property
    def enforced(self) -> int:
        """Nodes that hold it."""
        return self.nodes - len(self.late)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "policy": self.policy.name,
            "revision": str(self.policy.revision),
            "enforced": self.enforced,
            "nodes": self.nodes,
            "late": [{"node": late.node, "since": late.since, "why": late.why} for late in self.late],
        }


def policy_at(body: Mapping[str, Any]) -> PolicyAt:
    """From a NetworkPolicy of the API, or its metadata alone."""
    meta = body["metadata"]
    times = [entry["time"] for entry in meta.get("managedFields") or () if entry.get("time")]
    changed = max(times, default=meta.get("creationTimestamp") or "")
    return PolicyAt(f"{meta['namespace']}/{meta['name']}", int(meta["resourceVersion"]), changed)


def rollout(
    policies: Iterable[PolicyAt], states: Mapping[str, Mapping[str, Any]], nodes: Iterable[str]
) -> tuple[Row, ...]:
    """One row a policy, in the order of names. `states`: status of NodeState by node."""
    names = sorted(nodes)
    return tuple(
        Row(policy, len(names), tuple(late for node in names if (late := _late(policy, node, states.get(node)))))
        for policy in sorted(policies, key=lambda each: each.name)
    )


def _late(policy: PolicyAt, node: str, state: Mapping[str, Any] | None) -> Late | None:
    if state is None:
        return Late(node, policy.changed, "no agent has reported from there")
    held = state["policyRevision"]
    if state["ready"] and held and int(held) >= policy.revision:
        return None
    if state.get("lastError"):
        return Late(node, state.get("lastErrorSince") or policy.changed, state["lastError"])
    if not held:
        return Late(node, policy.changed, "its agent enforces nothing yet")
    said = f"its agent told revision {held} at {state['updated']}, and tells at most every {LEAST:g} s"
    return Late(node, policy.changed, said)
