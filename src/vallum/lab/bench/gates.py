"""The three gates of `bench latency`: changes through the API that let a sender through to a receiver, or not. Pure.

Each gate is a policy of the receiver. While one is tried the others stay shut: the policy gate opens by its own peers,
the pod gate by a label of the sender, the namespace gate by a label of the sender's namespace.
"""

from dataclasses import dataclass
from typing import Any

from vallum.lab.bench.kubesite import JSON, MERGE, Request
from vallum.lab.kube import pods
from vallum.lab.kube.client import Manifest

HERE, THERE = "arena", "outside"
RECEIVER, SENDER = "receiver", "sender"
_POLICIES = "/apis/networking.k8s.io/v1/namespaces"
_FRIEND, _STRANGER = "friend", "stranger"


@dataclass(frozen=True, slots=True)
class Gate:
    """One way to change what the receiver gets. `opened` and `shut` are the requests that do it."""

    name: str
    opened: Request
    shut: Request


def gates() -> tuple[Gate, ...]:
    """All three."""
    policy = f"{_POLICIES}/{HERE}/networkpolicies/by-policy"
    pod, space = f"/api/v1/namespaces/{THERE}/pods/{SENDER}", f"/api/v1/namespaces/{THERE}"
    return (
        Gate(
            "policy",
            Request("PUT", policy, _policy("by-policy", _sender({"app": SENDER})), JSON),
            Request("PUT", policy, _policy("by-policy", _sender({"app": "nobody"})), JSON),
        ),
        Gate("label of a pod", *(_labelled(pod, "role", value) for value in (_FRIEND, _STRANGER))),
        Gate("label of a namespace", *(_labelled(space, "team", value) for value in (_FRIEND, _STRANGER))),
    )


def world() -> list[Manifest]:
    """Namespaces, policies and the two pods, with every gate shut."""
    spaces = [pods.namespace(HERE), pods.namespace(THERE, {"team": _STRANGER})]
    policies = [
        _policy("by-policy", _sender({"app": "nobody"})),
        _policy("by-pod", _sender({"role": _FRIEND})),
        _policy("by-namespace", {"namespaceSelector": {"matchLabels": {"team": _FRIEND}}}),
    ]
    receiver = pods.pod(RECEIVER, ["TCP/80"], space=HERE, node="node1")
    sender = pods.pod(SENDER, ["TCP/80"], space=THERE, node="node2", labels={"role": _STRANGER})
    return [*spaces, *policies, receiver, sender]


def _sender(labels: dict[str, str]) -> dict[str, Any]:
    inside = {"matchLabels": {"kubernetes.io/metadata.name": THERE}}
    return {"podSelector": {"matchLabels": labels}, "namespaceSelector": inside}


def _policy(name: str, peer: dict[str, Any]) -> Manifest:
    selector = {"matchLabels": {"app": RECEIVER}}
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]}
    metadata = {"name": name, "namespace": HERE}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _labelled(path: str, key: str, value: str) -> Request:
    return Request("PATCH", path, {"metadata": {"labels": {key: value}}}, MERGE)
