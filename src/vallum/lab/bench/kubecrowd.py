"""The crowd of the benches on a real cluster, as objects of the API: pods elsewhere, and policies. Pure.

The pods are bound to a node that has no kubelet, so that they cost nothing but what the agents make of them; what a
kubelet would say of them is said for it. One policy of so many selects the pod that is measured and names an app of the
crowd; the others select pods of the crowd, which no node here enforces.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from vallum.lab.bench.kubesite import MERGE, Request
from vallum.lab.kube import images
from vallum.lab.kube.client import Manifest

NODE = "far"
SPACES, APPS = 20, 50
_FIRST = int(ip_address("10.200.0.0"))
_POLICIES = "/apis/networking.k8s.io/v1/namespaces"


def spaces() -> Iterator[Manifest]:
    """The namespaces of the crowd, and the node on which it is said to live."""
    metadata = {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}
    yield {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"unschedulable": True}}
    for number in range(SPACES):
        metadata = {"name": _space(number), "labels": {"team": f"team-{number % 5}"}}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pods(count: int, start: int = 0) -> list[Request]:
    """Requests that make pods. Ten share their labels."""
    return [
        Request("POST", f"/api/v1/namespaces/{_space(number)}/pods", far_pod(number))
        for number in range(start, start + count)
    ]


def statuses(count: int, start: int = 0) -> list[Request]:
    """Requests by which they run and have an address."""
    return [_status(number) for number in range(start, start + count)]


def policies(count: int, space: str, labels: dict[str, str], every: int = 10, start: int = 0) -> list[Request]:
    """Requests that make policies, one of `every` so many for the pods with these labels in that namespace."""
    return [_policy(number, space, labels, mine=number % every == 0) for number in range(start, start + count)]


def far_pod(number: int) -> Manifest:
    """A pod of the crowd, bound. No taint of its silent node drives it away."""
    labels = {"app": _app(number), "pod-template-hash": f"{number // 10:08x}"}
    spec = {
        "nodeName": NODE,
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "main", "image": images.PROBE}],
    }
    metadata = {"name": f"far-{number}", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _status(number: int) -> Request:
    address = str(ip_address(_FIRST + number))
    path = f"/api/v1/namespaces/{_space(number)}/pods/far-{number}/status"
    return Request(
        "PATCH", path, {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}, MERGE
    )


def _policy(number: int, space: str, labels: dict[str, str], *, mine: bool) -> Request:
    inside = space if mine else _space(number)
    selector = {"matchLabels": labels if mine else {"app": _app(number // SPACES)}}
    peers = [
        {"podSelector": {"matchLabels": {"app": _app(number // 10)}}, "namespaceSelector": {}},
        {
            "namespaceSelector": {"matchLabels": {"team": f"team-{number % 5}"}},
            "podSelector": {"matchLabels": {"x": "y"}},
        },
    ]
    ports = [{"protocol": "TCP", "port": 1024 + number % 500}]
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{"from": peers, "ports": ports}]}
    body = {"metadata": {"name": f"{space}-{number}"}, "spec": spec}
    return Request("POST", f"{_POLICIES}/{inside}/networkpolicies", body)


def _space(number: int) -> str:
    return f"crowd-{number % SPACES}"


def _app(number: int) -> str:
    return f"app-{number // 10 % APPS}"
