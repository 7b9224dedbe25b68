"""Manifests of the pods and Services that tests want, as plain dictionaries: short to call, nothing hidden.

All run our own image, which serves whatever it is told to on both families.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vallum.lab.kube import images, layout

Manifest = dict[str, Any]

_PROTOCOLS = {"HTTP": "TCP"}


def namespace(name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    """A namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}


def pod(
    name: str,
    serves: Sequence[str] = (),
    *,
    space: str = "default",
    node: str | None = None,
    labels: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
    container: Mapping[str, Any] | None = None,
) -> Manifest:
    """A pod that serves PROTOCOL/PORT... (TCP, UDP, SCTP, HTTP) and can probe. `spec` and `container` add fields."""
    main = {"name": "main", "image": images.PROBE, "args": ["serve", *serves], **(container or {})}
    whole: Manifest = {"terminationGracePeriodSeconds": 1, "containers": [main], **(spec or {})}
    if node is not None:
        whole["nodeSelector"] = {"kubernetes.io/hostname": node}
    metadata = {"name": name, "namespace": space, "labels": {"app": name, **(labels or {})}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def service(
    name: str,
    serves: Sequence[str],
    *,
    space: str = "default",
    selector: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Manifest:
    """A Service in both families, of the pods labelled app=NAME unless told otherwise; ports as `pod` takes them."""
    ports = []
    for place in serves:
        protocol, _, port = place.partition("/")
        protocol = _PROTOCOLS.get(protocol, protocol)
        ports.append({"name": place.lower().replace("/", "-"), "protocol": protocol, "port": int(port)})
    whole = {
        "selector": dict(selector or {"app": name}),
        "ports": ports,
        "ipFamilyPolicy": "PreferDualStack",
        **(spec or {}),
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space}, "spec": whole}


def names(known: Mapping[str, str], node: str | None = None) -> list[Manifest]:
    """A name server for these names, where pods ask for one: the Service kube-dns and its pod in kube-system."""
    words = ["dns", *(f"{name}={address}" for name, address in known.items())]
    server = pod("kube-dns", space="kube-system", node=node, container={"args": words})
    spec = {"clusterIP": str(layout.DNS_SERVICE), "ipFamilyPolicy": "SingleStack"}
    return [server, service("kube-dns", ["UDP/53"], space="kube-system", spec=spec)]
