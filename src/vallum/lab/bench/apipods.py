"""A large cluster as an API server would send it: pods of 3.7 kB with everything that a real one carries.

Most of that is skipped by whoever reads it, and skipping is what costs. Pure; the same arguments give the same bytes.
"""

import json
from collections.abc import Iterator

from vallum.lab.bench.fakeapi import Name

PER_NODE = 110
SPACES = 500
_APPS, _INSTANCES, _PARTS = 400, 2800, 50


def pods(count: int, *, unique: bool = False) -> Iterator[tuple[Name, bytes]]:
    """So many pods, ten of a ReplicaSet; `unique`: each with a label that no other has."""
    template = json.dumps(_pod(), separators=(",", ":"))
    head, tail = template.split('"HEAD"')
    for number in range(count):
        deployment = number // 10
        space, name = f"space-{deployment % SPACES}", f"app-{deployment}-{deployment:08x}-{number:05x}"
        meta = json.dumps(_meta(space, name, number, deployment, unique=unique), separators=(",", ":"))
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        rest = tail.replace("NODE", f"node-{number * 7919 % count // PER_NODE}").replace("ADDRESS", address)
        yield (space, name), f"{head}{meta}{rest}".encode()


def nodes(count: int) -> Iterator[tuple[Name, bytes]]:
    """The nodes of so many pods."""
    for number in range(-(-count // PER_NODE)):
        addresses = [{"type": "InternalIP", "address": f"172.16.{number >> 8}.{number & 255}"}]
        yield ("", f"node-{number}"), _bare(f"node-{number}", status={"addresses": addresses})


def spaces() -> Iterator[tuple[Name, bytes]]:
    """The namespaces."""
    for number in range(SPACES):
        name = f"space-{number}"
        yield ("", name), _bare(name, labels={"kubernetes.io/metadata.name": name, "team": f"team-{number % 40}"})


def _bare(name: str, labels: dict[str, str] | None = None, **rest: object) -> bytes:
    return json.dumps({"metadata": {"name": name, "resourceVersion": "1", "labels": labels or {}}, **rest}).encode()


def _meta(space: str, name: str, number: int, deployment: int, *, unique: bool) -> dict[str, object]:
    labels = {
        "app": f"app-{deployment % _APPS}",
        "env": ("dev", "test", "prod")[deployment // 3 % 3],
        "instance": f"instance-{deployment % _INSTANCES}",
        "part-of": f"part-{deployment % _PARTS}",
        "pod-template-hash": f"{deployment:08x}",
        "tier": ("web", "api", "db", "job")[deployment // 7 % 4],
    }
    if unique:
        labels["statefulset.kubernetes.io/pod-name"] = name
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"app-{deployment}-{deployment:08x}"}
    return {
        "name": name,
        "generateName": name[:-5],
        "namespace": space,
        "uid": f"{number:08x}-6d3c-4b43-9a53-5f1b1e9a7c11",
        "resourceVersion": "1",
        "creationTimestamp": f"2026-01-01T00:{deployment // 60 % 60:02d}:{deployment % 60:02d}Z",
        "labels": labels,
        "ownerReferences": [owner | {"uid": f"{deployment:08x}-0000", "controller": True, "blockOwnerDeletion": True}],
        "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": _fields(40)}],
    }


def _fields(count: int) -> dict[str, object]:
    return {"f:spec": {"f:containers": {'k:{"name":"web"}': {f"f:setting-{number}": {} for number in range(count)}}}}


def _pod() -> dict[str, object]:
    probe = {
        "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
        "periodSeconds": 10,
        "timeoutSeconds": 1,
    }
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:10Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    container = {
        "name": "web",
        "image": "registry.example.com/team/web:1.2.3",
        "env": [{"name": f"SETTING_{number}", "value": f"value-{number}"} for number in range(10)],
        "ports": [
            {"name": "http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "livenessProbe": probe,
        "readinessProbe": probe,
        "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    }
    status = {
        "phase": "Running",
        "conditions": conditions,
        "hostIP": "172.16.0.1",
        "podIP": "ADDRESS",
        "podIPs": [{"ip": "ADDRESS"}],
        "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": [{"name": "web", "ready": True, "restartCount": 0, "imageID": "sha256:" + "0" * 64}],
        "qosClass": "Burstable",
    }
    spec = {"containers": [container], "nodeName": "NODE", "serviceAccountName": "default", "tolerations": []}
    return {"metadata": "HEAD", "spec": spec, "status": status}
