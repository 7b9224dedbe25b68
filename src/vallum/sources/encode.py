"""Model objects written back as ordinary manifests: the lab's world folder, the world that an agent hands out.

Only what the model holds is written; reading it again gives equal objects (tested).
"""

from typing import Any

from vallum.model.objects import (
    PROTOCOL_NAMES,
    Namespace,
    Node,
    Object,
    Peer,
    Pod,
    Policy,
    PolicyPort,
    PolicyRule,
    Pool,
)
from vallum.model.selector import Operator, Selector
from vallum.sources.names import GROUPS, POD_RANGES, ROUTERS


def manifest(thing: Object) -> dict[str, Any]:
    """The object as a Kubernetes manifest."""
    match thing:
        case Namespace():
            return _document("v1", "Namespace", {"name": thing.name, "labels": dict(thing.labels)})
        case Node():
            return _node(thing)
        case Pool():
            return _pool(thing)
        case Pod():
            return _pod(thing)
        case Policy():
            return _policy(thing)


def _document(version: str, kind: str, metadata: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _node(node: Node) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": str(address)} for address in node.addresses]
    # spec.podCIDRs takes one of each family
    few = len({each.version for each in node.pod_ranges}) == len(node.pod_ranges)
    spec = {"podCIDRs": [str(network) for network in node.pod_ranges]} if few and node.pod_ranges else {}
    listed = ((POD_RANGES, () if few else node.pod_ranges), (GROUPS, node.groups), (ROUTERS, node.routers))
    annotations = {name: ",".join(map(str, values)) for name, values in listed if values}
    metadata: dict[str, Any] = {"name": node.name, "labels": dict(node.labels)}
    metadata |= {"annotations": annotations} if annotations else {}
    return _document("v1", "Node", metadata, spec=spec, status={"addresses": addresses})


def _pool(pool: Pool) -> dict[str, Any]:
    stated = {name: getattr(pool, name) for name in ("backend", "encapsulation", "masquerade", "mtu")}
    spec = {"cidr": str(pool.network)} | {name: value for name, value in stated.items() if value is not None}
    return _document("vallum.dev/v1alpha1", "Network", {"name": pool.name}, spec=spec)


def _pod(pod: Pod) -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": pod.id.namespace, "name": pod.id.name, "labels": dict(pod.labels)}
    if pod.created:
        metadata["creationTimestamp"] = pod.created
    if pod.owner:
        kind, _, name = pod.owner.partition("/")
        metadata["ownerReferences"] = [{"kind": kind, "name": name, "controller": True}]
    ports = [
        ({"name": port.name} if port.name else {})
        | {"protocol": PROTOCOL_NAMES[port.protocol], "containerPort": port.number}
        for port in pod.ports
    ]
    spec: dict[str, Any] = {"containers": [{"name": "main", "ports": ports} if ports else {"name": "main"}]}
    if pod.node:
        spec["nodeName"] = pod.node
    if pod.host_network:
        spec["hostNetwork"] = True
    status: dict[str, Any] = {"phase": "Succeeded" if pod.finished else "Running"}
    if pod.addresses:
        status |= {"podIP": str(pod.addresses[0]), "podIPs": [{"ip": str(address)} for address in pod.addresses]}
    return _document("v1", "Pod", metadata, spec=spec, status=status)


def _policy(policy: Policy) -> dict[str, Any]:
    types = [name for name, rules in (("Ingress", policy.ingress), ("Egress", policy.egress)) if rules is not None]
    spec: dict[str, Any] = {"podSelector": _selector(policy.pods), "policyTypes": types}
    if policy.ingress is not None:
        spec["ingress"] = [_rule(rule, "from") for rule in policy.ingress]
    if policy.egress is not None:
        spec["egress"] = [_rule(rule, "to") for rule in policy.egress]
    metadata = {"namespace": policy.id.namespace, "name": policy.id.name}
    return _document("networking.k8s.io/v1", "NetworkPolicy", metadata, spec=spec)


def _rule(rule: PolicyRule, side: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rule.peers is not None:
        found[side] = [_peer(peer) for peer in rule.peers]
    if rule.ports is not None:
        found["ports"] = [_port(port) for port in rule.ports]
    return found


def _peer(peer: Peer) -> dict[str, Any]:
    if peer.block is not None:
        block: dict[str, Any] = {"cidr": str(peer.block.network)}
        if peer.block.excepts:
            block["except"] = [str(network) for network in peer.block.excepts]
        return {"ipBlock": block}
    named = (("podSelector", peer.pods), ("namespaceSelector", peer.namespaces))
    return {key: _selector(selector) for key, selector in named if selector is not None}


def _port(port: PolicyPort) -> dict[str, Any]:
    found: dict[str, Any] = {"protocol": PROTOCOL_NAMES[port.protocol]}
    if port.port is not None:
        found["port"] = port.port
    if port.end is not None:
        found["endPort"] = port.end
    return found


def _selector(selector: Selector) -> dict[str, Any]:
    """Expressions throughout: a matchLabels entry is an In with one value (metav1.LabelSelector)."""
    expressions = []
    for requirement in selector.requirements:
        expression: dict[str, Any] = {"key": requirement.key, "operator": str(requirement.operator)}
        if requirement.operator in (Operator.IN, Operator.NOT_IN):
            expression["values"] = list(requirement.values)
        expressions.append(expression)
    return {"matchExpressions": expressions} if expressions else {}
