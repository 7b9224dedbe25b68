"""NetworkPolicy v1 a second time, written from the API's own words and sharing nothing with the engine.

The words: the comments of k8s.io/api/networking/v1/types.go, quoted where they decide. Where they are silent, the
numbered stances of docs/semantics.md. It takes manifests and probes as plain JSON and is as slow as it is simple: no
sets, no classes, nothing prepared. Ignored: Services (packets are judged after DNAT), and which way a packet of a
flow goes: an answer is judged as its question.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

Json = Mapping[str, Any]
Address = IPv4Address | IPv6Address

parse_address, parse_network = cache(ip_address), cache(ip_network)

PORTED = {"TCP": 6, "UDP": 17, "SCTP": 132}
NAME_LABEL = "kubernetes.io/metadata.name"
LOCAL_ADDRESSES = "vallum.dev/local-addresses"
ICMP_ERRORS = {1: (3, 4, 5, 11, 12), 58: (1, 2, 3, 4)}


class CannotBeAskedError(Exception):
    """The probe names a pod that is not there, has finished, or has no address that fits."""


@dataclass(frozen=True)
class Answer:
    """What the two ends say; the packet passes when both allow it."""

    ingress: bool
    egress: bool

    @property
    def allow(self) -> bool:
        """Reports whether the packet passes."""
        return self.ingress and self.egress


ALWAYS = Answer(ingress=True, egress=True)
SPOOFED = Answer(ingress=True, egress=False)


@dataclass(frozen=True)
class End:
    """One end of a packet. `pod`: the manifest of a pod that policies see, None for everything else.

    `address` None: known by name only. `node`: the name of the node that this end is, if it is one.
    """

    pod: Json | None
    address: Address | None
    node: str | None = None


@dataclass(frozen=True)
class Traffic:
    """A packet as policies see it: the ends, the protocol's number, and the destination port."""

    source: End
    target: End
    protocol: int
    port: int


class Evaluator:
    """Answers probes about one world of manifests."""

    def __init__(self, documents: Iterable[Json]) -> None:
        self.documents = tuple(documents)

    def answer(self, probe: Json, *, known_flow: bool = False) -> Answer:
        """The verdict of a probe. `known_flow`: it is an ICMP error about a flow that connection tracking knows.

        Raises CannotBeAskedError.
        """
        source, target = self.ends(probe)
        protocol = _protocol(probe, source, target)
        written = probe.get("source")
        if written is not None:
            sender = source.pod
            source = self._by_address(parse_address(written))
            if sender is None and source.pod is not None:
                return SPOOFED  # stance 23: from outside with a pod's source
            if sender is not None and (source.pod is None or _id(source.pod) != _id(sender)):
                return SPOOFED  # stance 23: a pod sends from its own addresses only
        if known_flow and probe.get("type") in ICMP_ERRORS.get(protocol, ()):
            return ALWAYS  # stance 15
        return self._judge(Traffic(source, target, protocol, probe.get("port") or 0))

    def _judge(self, traffic: Traffic) -> Answer:
        source, target = traffic.source, traffic.target
        if source.pod is not None and target.pod is not None and _id(source.pod) == _id(target.pod):
            return ALWAYS  # stance 14
        egress = source.pod is None or self._allows(source.pod, "Egress", target, traffic)
        # "OR if the traffic source is the pod's local node"
        local = target.pod is not None and self.is_node_of(source, target.pod)
        ingress = target.pod is None or local or self._allows(target.pod, "Ingress", source, traffic)
        return Answer(ingress, egress)

    # policies

    def _allows(self, pod: Json, kind: str, remote: End, traffic: Traffic) -> bool:
        """API: "Traffic is allowed to a pod if there are no NetworkPolicies selecting the pod ... OR if the traffic
        matches at least one ingress rule across all of the NetworkPolicy objects whose podSelector matches the pod."
        """
        policies = self.isolating(pod, kind)
        if not policies:
            return True
        rules, peers = ("ingress", "from") if kind == "Ingress" else ("egress", "to")
        return any(
            self._peers_match(policy, rule.get(peers), remote) and _ports_match(rule.get("ports"), traffic)
            for policy in policies
            for rule in policy["spec"].get(rules) or ()
        )

    def isolating(self, pod: Json, kind: str) -> list[Json]:
        """The policies of this type that select the pod.

        API: "An empty selector matches all pods in the policy's namespace. ... If it is not specified, it defaults to
        an empty selector."
        """
        return [
            policy
            for policy in self._of_kind("NetworkPolicy")
            if _namespace(policy) == _namespace(pod)
            and _selects(policy["spec"].get("podSelector") or {}, _labels(pod))
            and kind in _types(policy["spec"])
        ]

    def _peers_match(self, policy: Json, peers: list[Json] | None, remote: End) -> bool:
        """API: "If this field is empty or missing, this rule matches all sources. ... Items in this list are combined
        using a logical OR operation."
        """
        return not peers or any(self._peer_matches(policy, peer, remote) for peer in peers)

    def _peer_matches(self, policy: Json, peer: Json, remote: End) -> bool:
        pods, namespaces, block = (peer.get(key) for key in ("podSelector", "namespaceSelector", "ipBlock"))
        if block is not None:
            return _in_block(block, remote.address)
        if remote.pod is None or (pods is None and namespaces is None):
            return False  # stances 1 and 2: an empty peer is nobody, and selectors select pods only
        if pods is not None and not _selects(pods, _labels(remote.pod)):
            return False
        if namespaces is None:  # "Otherwise it selects the pods matching podSelector in the policy's own namespace."
            return _namespace(remote.pod) == _namespace(policy)
        return _selects(namespaces, self._namespace_labels(_namespace(remote.pod)))

    # the world

    def _of_kind(self, kind: str) -> Iterator[Json]:
        return (document for document in self.documents if document["kind"] == kind)

    def _namespace_labels(self, name: str) -> Json:
        """Stance 3: the name label is always there, also where nobody declared the namespace."""
        labels = [_labels(document) for document in self._of_kind("Namespace") if document["metadata"]["name"] == name]
        return {**(labels[0] if labels else {}), NAME_LABEL: name}

    def ends(self, probe: Json) -> tuple[End, End]:
        """The first addresses of both that are of one family, or of the one that is asked for.

        Raises CannotBeAskedError.
        """
        for source in self._candidates(probe["from"]):
            for target in self._candidates(probe["to"]):
                versions = {end.address.version for end in (source, target) if end.address is not None}
                if len(versions) < 2 and versions <= {probe.get("family") or min(versions, default=0)}:
                    return source, target
        raise CannotBeAskedError("no family in common")

    def _candidates(self, name: str) -> list[End]:
        if "/" not in name:
            return [self._by_address(parse_address(name))]
        pods = [pod for pod in self._of_kind("Pod") if "/".join(_id(pod)) == name]
        if not pods or _finished(pods[0]):
            raise CannotBeAskedError(name)
        pod = pods[0]
        if _on_host(pod):  # stance 6: its address is the node's, and only ipBlock sees it
            node = pod["spec"].get("nodeName")
            return [End(None, address, node) for address in self._node_addresses(node)] or [End(None, None, node)]
        stated = _addresses(pod)
        owned = [End(pod, address) for address in stated if self._owner(address) is pod]
        if stated and not owned:
            raise CannotBeAskedError(f"{name} lost its addresses")
        return owned or [End(pod, None)]  # stance 7: without an address it is judged by name

    def _by_address(self, address: Address) -> End:
        return End(self._owner(address), address)

    def _owner(self, address: Address) -> Json | None:
        """Stance 7: where two live pods claim an address, the newest has it."""
        claiming = [
            pod
            for pod in self._of_kind("Pod")
            if address in _addresses(pod) and not _finished(pod) and not _on_host(pod)
        ]
        return max(claiming, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", _id(pod)), default=None)

    def _node_addresses(self, name: str | None) -> list[Address]:
        """Stance 13: what Node.status states, and what the node's agent publishes."""
        found: list[Address] = []
        for node in self._of_kind("Node"):
            if node["metadata"]["name"] == name:
                stated = (node.get("status") or {}).get("addresses") or ()
                found += [
                    parse_address(one["address"]) for one in stated if one["type"] in ("InternalIP", "ExternalIP")
                ]
                published = (node["metadata"].get("annotations") or {}).get(LOCAL_ADDRESSES, "")
                found += [parse_address(text.strip()) for text in published.split(",") if text.strip()]
        return found

    def is_node_of(self, end: End, pod: Json) -> bool:
        """Reports whether this end is the node that the pod runs on."""
        own = pod["spec"].get("nodeName")
        if own is None:
            return False
        return end.node == own if end.address is None else end.address in self._node_addresses(own)


def _types(spec: Json) -> list[str]:
    """API: "Policies that contain an egress section are assumed to affect egress, and all policies (whether or not
    they contain an ingress section) are assumed to affect ingress." Stance 12: an egress section is one with rules.
    """
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _ports_match(ports: list[Json] | None, traffic: Traffic) -> bool:
    """API: "Each item in this list is combined using a logical OR. If this field is empty or missing, this rule
    matches all ports." Stance 9: other protocols too.
    """
    return not ports or any(_port_matches(entry, traffic) for entry in ports)


def _port_matches(entry: Json, traffic: Traffic) -> bool:
    """API: "If not specified, this field defaults to TCP. ... If this field is not provided, this matches all port
    names and numbers. ... the range of ports from port to endPort if set, inclusive."
    """
    protocol = entry.get("protocol") or "TCP"
    if traffic.protocol != PORTED[protocol]:
        return False
    port = entry.get("port")
    if port is None:
        return True
    if isinstance(port, int):
        return bool(port <= traffic.port <= (entry.get("endPort") or port))
    return traffic.port in _named_ports(traffic.target.pod, port, protocol)


def _named_ports(pod: Json | None, name: str, protocol: str) -> list[int]:
    """Stance 10: "a numerical or named port on a pod" is the destination's; stance 8: containers and sidecars."""
    if pod is None:
        return []
    sidecars = [one for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") == "Always"]
    return [
        port["containerPort"]
        for container in [*(pod["spec"].get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("name") == name and (port.get("protocol") or "TCP") == protocol
    ]


def _in_block(block: Json, address: Address | None) -> bool:
    """API: "CIDRs that should not be included within this rule", of this block only (stance 4)."""
    if address is None or address not in parse_network(block["cidr"]):
        return False
    return not any(address in parse_network(cut) for cut in block.get("except") or ())


def _selects(selector: Json, labels: Json) -> bool:
    """API: "The result of matchLabels and matchExpressions are ANDed. An empty label selector matches all objects"."""
    pairs = selector.get("matchLabels") or {}
    if any(key not in labels or labels[key] != value for key, value in pairs.items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def _holds(expression: Json, labels: Json) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":  # stance 3: also where the key is absent
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(expression)


def _protocol(probe: Json, source: End, target: End) -> int:
    """By number; ICMP is ICMPv6 between addresses of family 6."""
    protocol = probe.get("protocol", "TCP")
    versions = {end.address.version for end in (source, target) if end.address is not None}
    if protocol in ("ICMP", 1):
        return 58 if 6 in versions or (not versions and probe.get("family") == 6) else 1
    return PORTED[protocol] if isinstance(protocol, str) else protocol


def _namespace(document: Json) -> str:
    return document["metadata"].get("namespace") or "default"


def _id(document: Json) -> tuple[str, str]:
    return _namespace(document), document["metadata"]["name"]


def _labels(document: Json) -> Json:
    return document["metadata"].get("labels") or {}


def _addresses(pod: Json) -> list[Address]:
    status = pod.get("status") or {}
    listed = [one["ip"] for one in status.get("podIPs") or ()] or [status.get("podIP")]
    return [parse_address(text) for text in listed if text]


def _finished(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _on_host(pod: Json) -> bool:
    return bool(pod["spec"].get("hostNetwork"))
