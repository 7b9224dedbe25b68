"""Workloads as the one pod they stand for where no controller runs: in the pure commands and in the lab.

The pod has the workload's name and namespace and the template's labels and ports. Ignores replicas, and the
pods that a controller of a real cluster made of the same template: those are objects of their own.
"""

from typing import Any

_TEMPLATED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"})


def pod_of(kind: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of the pod that a workload stands for, None for a kind that is no workload."""
    if kind in _TEMPLATED:
        template = body["spec"]["template"]
    elif kind == "CronJob":
        template = body["spec"]["jobTemplate"]["spec"]["template"]
    else:
        return None
    meta = {key: body["metadata"][key] for key in ("name", "namespace") if body["metadata"].get(key)}
    labels = (template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta | {"labels": labels, "ownerReferences": [_reference(kind, body["metadata"]["name"])]},
        "spec": template.get("spec") or {},
    }


def _reference(kind: str, name: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "controller": True}
