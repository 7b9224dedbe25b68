"""Wire shape to model, once, at the door: plain dicts that have the right shape become frozen objects.

Defaults are filled in here as the API server does (policyTypes, protocol, namespace). Ignores whether the shape
is right: `kinds` and the schemas checked that, with line and column.
"""

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from vallum.model.address import Address
from vallum.model.objects import (
    NAME_LABEL,
    PROTOCOLS,
    Block,
    NamedPort,
    Namespace,
    Node,
    Object,
    Peer,
    Pod,
    PodId,
    Policy,
    PolicyId,
    PolicyPort,
    PolicyRule,
    Pool,
)
from vallum.model.selector import Labels, Operator, Requirement, Selector, labels
from vallum.sources.names import ADDRESS_TYPES, GROUPS, LOCAL_ADDRESSES, POD_RANGES, ROUTERS, TEMPLATE_HASH
from vallum.sources.workloads import pod_of

_Body = dict[str, Any]
_FINISHED = frozenset({"Succeeded", "Failed"})


def decode(kind: str, body: _Body) -> Object | None:
    """The object of a manifest; a workload becomes its pod. None for kinds that are checked and not used."""
    found = _DECODERS.get(kind)
    if found:
        return found(body)
    pod = pod_of(kind, body)
    return _pod(pod) if pod else None


def _namespace(body: _Body) -> Namespace:
    name = body["metadata"]["name"]
    return Namespace(name, labels(_dict(body["metadata"], "labels") | {NAME_LABEL: name}))


def _node(body: _Body) -> Node:
    meta, spec, status = body["metadata"], _dict(body, "spec"), _dict(body, "status")
    stated = [item["address"] for item in _list(status, "addresses") if item["type"] in ADDRESS_TYPES]
    first = [spec["podCIDR"]] if spec.get("podCIDR") else []
    ranges = [*(_list(spec, "podCIDRs") or first), *_listed(meta, POD_RANGES)]
    return Node(
        meta["name"],
        _labels(meta),
        tuple(dict.fromkeys(ip_address(text) for text in [*stated, *_listed(meta, LOCAL_ADDRESSES)])),
        tuple(ip_network(text) for text in ranges),
        tuple(map(ip_network, _listed(meta, GROUPS))),
        tuple(map(ip_address, _listed(meta, ROUTERS))),
    )


def _pool(body: _Body) -> Pool:
    spec = body["spec"]
    stated = (spec.get(name) for name in ("backend", "encapsulation", "masquerade", "mtu"))
    return Pool(body["metadata"]["name"], ip_network(spec["cidr"]), *stated)


def _listed(meta: _Body, annotation: str) -> list[str]:
    """What an annotation lists, parted by commas."""
    text = _dict(meta, "annotations").get(annotation) or ""
    return [part.strip() for part in text.split(",") if part.strip()]


def _pod(body: _Body) -> Pod:
    meta, spec, status = body["metadata"], _dict(body, "spec"), _dict(body, "status")
    return Pod(
        PodId(meta.get("namespace") or "default", meta["name"]),
        _labels(meta),
        spec.get("nodeName") or None,
        _addresses(status),
        tuple(sorted(set(_ports(spec)))),
        bool(spec.get("hostNetwork")),
        status.get("phase") in _FINISHED,
        meta.get("creationTimestamp") or "",
        _owner(meta),
    )


def _owner(meta: _Body) -> str:
    """The workload. A Deployment stands behind a ReplicaSet that is named after it and the template's hash."""
    owners = _list(meta, "ownerReferences")
    found = next((owner for owner in owners if owner.get("controller")), owners[0] if owners else None)
    if found is None:
        return ""
    kind, name = found["kind"], found["name"]
    suffix = "-" + str(_dict(meta, "labels").get(TEMPLATE_HASH, ""))
    if kind == "ReplicaSet" and suffix != "-" and name.endswith(suffix):
        return f"Deployment/{name.removesuffix(suffix)}"
    return f"{kind}/{name}"


def _addresses(status: _Body) -> tuple[Address, ...]:
    listed = [item["ip"] for item in _list(status, "podIPs")]
    first = [status["podIP"]] if status.get("podIP") else []
    return tuple(ip_address(text) for text in listed or first)


def _ports(spec: _Body) -> Iterator[NamedPort]:
    """Ports of containers and of init containers that stay (KEP-753); one without a name cannot be asked for."""
    sidecars = [item for item in _list(spec, "initContainers") if item.get("restartPolicy") == "Always"]
    for container in [*_list(spec, "containers"), *sidecars]:
        for port in _list(container, "ports"):
            yield NamedPort(port.get("name") or "", _protocol(port), port["containerPort"])


def _policy(body: _Body) -> Policy:
    meta, spec = body["metadata"], _dict(body, "spec")
    ingress, egress = _list(spec, "ingress"), _list(spec, "egress")
    types = _list(spec, "policyTypes") or ["Ingress", *(["Egress"] if egress else [])]
    return Policy(
        PolicyId(meta.get("namespace") or "default", meta["name"]),
        _selector(_dict(spec, "podSelector")),
        tuple(_rule(rule, "from") for rule in ingress) if "Ingress" in types else None,
        tuple(_rule(rule, "to") for rule in egress) if "Egress" in types else None,
    )


def _rule(body: _Body, side: str) -> PolicyRule:
    """A missing or empty list means any."""
    peers = tuple(_peer(peer) for peer in _list(body, side))
    ports = tuple(_port(port) for port in _list(body, "ports"))
    return PolicyRule(peers or None, ports or None)


def _peer(body: _Body) -> Peer:
    pods, namespaces, block = (body.get(key) for key in ("podSelector", "namespaceSelector", "ipBlock"))
    return Peer(
        None if pods is None else _selector(pods),
        None if namespaces is None else _selector(namespaces),
        None if block is None else _block(block),
    )


def _block(body: _Body) -> Block:
    return Block(ip_network(body["cidr"]), tuple(ip_network(text) for text in _list(body, "except")))


def _port(body: _Body) -> PolicyPort:
    return PolicyPort(_protocol(body), body.get("port"), body.get("endPort"))


def _protocol(body: _Body) -> int:
    return PROTOCOLS[body.get("protocol") or "TCP"]


def _selector(body: _Body) -> Selector:
    found = {Requirement(key, Operator.IN, (value,)) for key, value in _dict(body, "matchLabels").items()}
    for item in _list(body, "matchExpressions"):
        values = tuple(sorted(set(_list(item, "values"))))
        found.add(Requirement(item["key"], Operator(item["operator"]), values))
    return Selector(tuple(sorted(found)))


def _labels(meta: _Body) -> Labels:
    return labels(_dict(meta, "labels"))


def _dict(body: _Body, key: str) -> _Body:
    """The mapping of a field, empty where it is absent or null."""
    found: _Body = body.get(key) or {}
    return found


def _list(body: _Body, key: str) -> list[Any]:
    """The list of a field, empty where it is absent or null."""
    found: list[Any] = body.get(key) or []
    return found


_DECODERS: dict[str, Callable[[_Body], Object]] = {
    "Namespace": _namespace,
    "Node": _node,
    "Pod": _pod,
    "Network": _pool,
    "NetworkPolicy": _policy,
}
