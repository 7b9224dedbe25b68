"""Which forms of the API bear on a probe: what the manifests say, at its ends and in the policies that isolate them.

It reads manifests, because the model no longer tells what was left out from what was written as empty.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from apitext import CannotBeAskedError, End, Evaluator, parse_network

Json = Mapping[str, Any]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_SELECTOR = (*_OPERATORS, "matchLabels", "labels and expressions", "empty")
ALL = {
    *(f"{whose} selector: {form}" for whose in ("policy", "pod", "namespace") for form in _SELECTOR),
    *("from missing", "from empty", "to missing", "to empty", "no rules", "podSelector missing"),
    *("peer: pods", "peer: namespaces", "peer: pods and namespaces", "peer: block"),
    *("IPv4 block", "IPv6 block", "IPv4 block with except", "IPv6 block with except"),
    *("ports missing", "ports empty", "port missing", "protocol missing", "port entry empty", "port number", "endPort"),
    *("named port of ingress", "named port of egress", "named port to everybody", "a name of two numbers"),
    *("policyTypes missing", "policyTypes empty", "policyTypes Ingress", "policyTypes Egress", "policyTypes both"),
    "egress rules that do not count",
    *("TCP", "UDP", "SCTP", "ICMP", "protocol number", "IPv4", "IPv6", "family not given"),
    *("self", "own node", "another node", "outside", "cut point", "pod by address"),
    *("spoofed", "ICMP error", "ICMP error of a flow"),
    *("hostNetwork pod", "pod by name only", "pod of one family", "pod of both families", "pod without labels"),
    *("address of a finished pod", "address of two pods", "namespace not declared", "not allowed to be asked"),
    *("port of a container", "port of a sidecar", "port of an init container"),
}


def forms(evaluator: Evaluator, probe: Json) -> set[str]:
    """Every form that this probe meets."""
    found = set(_asked(probe))
    try:
        source, target = evaluator.ends(probe)
    except CannotBeAskedError:
        return {"not allowed to be asked"}
    versions = {end.address.version for end in (source, target) if end.address is not None}
    found |= {f"IPv{version}" for version in versions}
    for end, name in ((source, probe["from"]), (target, probe["to"])):
        found |= set(_end(evaluator, end, name))
    if source.pod is not None and source.pod is target.pod:
        found.add("self")
    found |= set(_nodes(source, target, evaluator))
    for end, kind in ((source, "Egress"), (target, "Ingress")):
        for policy in evaluator.isolating(end.pod, kind) if end.pod is not None else ():
            found |= set(_policy(evaluator, policy, kind))
    return found


def _asked(probe: Json) -> Iterator[str]:
    number = probe["protocol"]
    yield {6: "TCP", 17: "UDP", 132: "SCTP", "ICMP": "ICMP"}.get(number, "protocol number")
    if "family" not in probe:
        yield "family not given"
    if "source" in probe:
        yield "spoofed"
    if "type" in probe:
        yield "ICMP error of a flow" if "of" in probe else "ICMP error"


def _end(evaluator: Evaluator, end: End, name: str) -> Iterator[str]:
    by_address = "/" not in name
    if by_address:
        yield "outside" if end.pod is None else "pod by address"
        if str(end.address) in _cut_points(evaluator):
            yield "cut point"
    if end.pod is None:
        if not by_address:
            yield "hostNetwork pod"
        if any(_has(pod, end) for pod in evaluator.documents if pod["kind"] == "Pod" and _over(pod)):
            yield "address of a finished pod"
        return
    yield from _pod(evaluator, end.pod)


def _pod(evaluator: Evaluator, pod: Json) -> Iterator[str]:
    listed = pod["status"].get("podIPs", ())
    yield ("pod by name only", "pod of one family", "pod of both families")[len(listed)]
    if not pod["metadata"].get("labels"):
        yield "pod without labels"
    if pod["metadata"]["namespace"] not in {one["metadata"]["name"] for one in _all(evaluator, "Namespace")}:
        yield "namespace not declared"
    others = [one for one in _all(evaluator, "Pod") if one is not pod and not one["spec"].get("hostNetwork")]
    shared = [one for one in others if any(address in one["status"].get("podIPs", ()) for address in listed)]
    if any(map(_over, shared)):
        yield "address of a finished pod"
    if not all(map(_over, shared)):
        yield "address of two pods"
    spec = pod["spec"]
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        if container.get("ports"):
            plain = container in spec["containers"]
            sidecar = container.get("restartPolicy") == "Always"
            yield f"port of {'a container' if plain else 'a sidecar' if sidecar else 'an init container'}"


def _nodes(source: End, target: End, evaluator: Evaluator) -> Iterator[str]:
    for end, other in ((source, target), (target, source)):
        if other.pod is not None and other.pod["spec"].get("nodeName"):
            if evaluator.is_node_of(end, other.pod):
                yield "own node"
            elif end.node is not None:
                yield "another node"


def _policy(evaluator: Evaluator, policy: Json, kind: str) -> Iterator[str]:
    spec = policy["spec"]
    types = spec.get("policyTypes")
    yield "policyTypes " + (
        "missing" if types is None else "empty" if not types else types[0] if len(types) == 1 else "both"
    )
    if spec.get("egress") and types == ["Ingress"]:
        yield "egress rules that do not count"
    if "podSelector" in spec:
        yield from (f"policy selector: {form}" for form in _selector(spec["podSelector"]))
    else:
        yield "podSelector missing"
    rules, side = ("ingress", "from") if kind == "Ingress" else ("egress", "to")
    if not spec.get(rules):
        yield "no rules"
    for rule in spec.get(rules, ()):
        yield from _rule(evaluator, rule, side)


def _rule(evaluator: Evaluator, rule: Json, side: str) -> Iterator[str]:
    if not rule.get(side):
        yield f"{side} {'empty' if side in rule else 'missing'}"
    for peer in rule.get(side, ()):
        yield from _peer(peer)
    if not rule.get("ports"):
        yield f"ports {'empty' if 'ports' in rule else 'missing'}"
    for entry in rule.get("ports", ()):
        yield from _port(evaluator, entry, rule, side)


def _peer(peer: Json) -> Iterator[str]:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        yield "peer: block"
        yield f"IPv{parse_network(block['cidr']).version} block" + (" with except" if block.get("except") else "")
        return
    named = {"podSelector": "pods", "namespaceSelector": "namespaces"}
    yield "peer: " + " and ".join(word for key, word in named.items() if key in peer)
    for key, whose in (("podSelector", "pod"), ("namespaceSelector", "namespace")):
        if key in peer:
            yield from (f"{whose} selector: {form}" for form in _selector(peer[key]))


def _selector(selector: Json) -> Iterator[str]:
    expressions = selector.get("matchExpressions", ())
    yield from (expression["operator"] for expression in expressions)
    if selector.get("matchLabels"):
        yield "labels and expressions" if expressions else "matchLabels"
    elif not expressions:
        yield "empty"


def _port(evaluator: Evaluator, entry: Json, rule: Json, side: str) -> Iterator[str]:
    if not entry:
        yield "port entry empty"
    if "protocol" not in entry:
        yield "protocol missing"
    port = entry.get("port")
    if port is None:
        yield "port missing"
    elif isinstance(port, int):
        yield "endPort" if "endPort" in entry else "port number"
    else:
        yield f"named port of {'ingress' if side == 'from' else 'egress'}"
        if side == "to" and not rule.get("to"):
            yield "named port to everybody"
        if len(_numbers(evaluator, port, entry.get("protocol", "TCP"))) > 1:
            yield "a name of two numbers"


def _numbers(evaluator: Evaluator, name: str, protocol: str) -> set[int]:
    ports = [
        port
        for pod in _all(evaluator, "Pod")
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
    ]
    return {
        port["containerPort"] for port in ports if (port.get("name"), port.get("protocol", "TCP")) == (name, protocol)
    }


@cache
def _cut_points(evaluator: Evaluator) -> frozenset[str]:
    """First and last address of every block and exception, and the addresses beside them."""
    found = set()
    for block in _blocks([document.get("spec") for document in evaluator.documents]):
        for network in map(parse_network, (block["cidr"], *block.get("except", ()))):
            low, high = network.network_address, network.broadcast_address
            found |= {str(low), str(high)}
            found |= {str(low - 1)} if int(low) else set()
            found |= {str(high + 1)} if int(high) + 1 < 1 << network.max_prefixlen else set()
    return frozenset(found)


def _blocks(value: Any) -> Iterator[Json]:
    """Every ipBlock, however deep."""
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _blocks(inner)
    if isinstance(value, Mapping) and "cidr" in value:
        yield value


def _has(pod: Json, end: End) -> bool:
    return {"ip": str(end.address)} in pod["status"].get("podIPs", ())


def _over(pod: Json) -> bool:
    return bool(pod["status"].get("phase") in ("Succeeded", "Failed"))


def _all(evaluator: Evaluator, kind: str) -> list[Json]:
    return [document for document in evaluator.documents if document["kind"] == kind]
