"""Snapshot -> Ruleset of one node: the front end of NetworkPolicy v1 (all of its stances: docs/semantics.md).

Selectors are evaluated on kinds (pods of one namespace with equal labels), not on pods. What this file ignores:
how a plane lays the result out, and where the pods' packets really go.
"""

from collections.abc import Iterable

from vallum.model.address import Packed, by_name, pack
from vallum.model.objects import Pod, PodId, Policy, PolicyId, PolicyRule
from vallum.model.selector import Labels
from vallum.model.snapshot import Snapshot
from vallum.policy.peers import Peers, digest
from vallum.policy.ruleset import OPEN, Local, PortMatch, Rule, RuleRef, Ruleset, Side, Way
from vallum.policy.selectors import matches

Kind = tuple[str, Labels]
"""A namespace and a label set: all that a selector can tell apart."""


def compile_node(snapshot: Snapshot, node: str | None) -> Ruleset:
    """The Ruleset of `node`; with None every pod is local, which is what questions about files ask.

    Pods on hostNetwork and finished pods are neither subjects nor peers (stances 6 and 7). A pod without an
    address waits; with `node` None it is judged by name.
    """
    pods = living(snapshot, by_names=node is None)
    sides = _Sides(snapshot, Peers(snapshot, pods))
    locals_ = tuple(
        Local(pod.id, addresses, sides.of(pod, Way.INGRESS), sides.of(pod, Way.EGRESS), _host(snapshot, pod))
        for pod, addresses in pods
        if node is None or pod.node == node
    )
    return Ruleset(node, locals_, sides.peers.sets, snapshot.revision)


def living(snapshot: Snapshot, *, by_names: bool) -> list[tuple[Pod, tuple[Packed, ...]]]:
    """Pods that count, sorted by id, each with the addresses it owns.

    Where two live pods claim an address the newest owns it (stance 7); ties go to the later name.
    """
    candidates = [pod for pod in snapshot.pods.values() if not pod.finished and not pod.host_network]
    candidates.sort(key=lambda pod: (pod.created, pod.id))
    owner: dict[Packed, PodId] = {}
    for pod in candidates:
        owner.update({pack(address): pod.id for address in pod.addresses})
    found = []
    for pod in sorted(candidates, key=lambda pod: pod.id):
        addresses = tuple(packed for packed in map(pack, pod.addresses) if owner[packed] == pod.id)
        if not pod.addresses and by_names:
            addresses = (by_name(str(pod.id)),)
        if addresses:
            found.append((pod, addresses))
    return found


def _host(snapshot: Snapshot, pod: Pod) -> frozenset[Packed]:
    if pod.node is None:
        return frozenset()
    node = snapshot.nodes.get(pod.node)
    return frozenset(map(pack, node.addresses if node else ())) | {node_by_name(pod.node)}


def node_by_name(node: str) -> Packed:
    """The stand-in address of a node, for files that have hostNetwork pods but no Node objects."""
    return by_name(f"node {node}")


class _Sides:
    """Makes one Side for all pods that share policies and, where it matters, named ports."""

    def __init__(self, snapshot: Snapshot, peers: Peers) -> None:
        self.peers = peers
        self._policies: dict[str, list[Policy]] = {}
        for policy in sorted(snapshot.policies.values(), key=lambda policy: policy.id):
            self._policies.setdefault(policy.id.namespace, []).append(policy)
        self._selecting: dict[Kind, tuple[Policy, ...]] = {}
        self._made: dict[tuple[Way, tuple[PolicyId, ...], tuple[object, ...]], Side] = {}

    def of(self, pod: Pod, way: Way) -> Side:
        policies = tuple(policy for policy in self._select(pod) if _rules(policy, way) is not None)
        if not policies:
            return OPEN
        ids = tuple(policy.id for policy in policies)
        names = _names_used(policies) if way is Way.INGRESS else frozenset()
        resolved = tuple(sorted(port for port in pod.ports if port.name in names))
        key = (way, ids, resolved)
        if key not in self._made:
            rules = tuple(rule for policy in policies for rule in self._policy_rules(policy, way, pod))
            self._made[key] = Side(_name(way, ids, resolved), ids, rules)
        return self._made[key]

    def _select(self, pod: Pod) -> tuple[Policy, ...]:
        kind = (pod.id.namespace, pod.labels)
        if kind not in self._selecting:
            labels = dict(pod.labels)
            mine = self._policies.get(pod.id.namespace, [])
            self._selecting[kind] = tuple(policy for policy in mine if matches(policy.pods, labels))
        return self._selecting[kind]

    def _policy_rules(self, policy: Policy, way: Way, pod: Pod) -> Iterable[Rule]:
        for index, rule in enumerate(_rules(policy, way) or ()):
            ref = RuleRef(policy.id, way, index)
            if way is Way.INGRESS:
                yield Rule(self._peer_ids(policy, rule), _ingress_ports(rule, pod), ref)
            else:
                yield from self._egress_rules(policy, rule, ref)

    def _peer_ids(self, policy: Policy, rule: PolicyRule) -> tuple[str, ...] | None:
        if rule.peers is None:
            return None
        return tuple(dict.fromkeys(self.peers.of(peer, policy.id.namespace) for peer in rule.peers))

    def _egress_rules(self, policy: Policy, rule: PolicyRule, ref: RuleRef) -> Iterable[Rule]:
        """A named port is the destination pod's (stance 10): one rule for each number behind the name."""
        peers = self._peer_ids(policy, rule)
        yield Rule(peers, _numeric(rule), ref)  # without numbers it matches nothing, but questions see it
        for entry in rule.ports or ():
            if isinstance(entry.port, str):
                for number, subset in self.peers.with_port(peers, entry.port, entry.protocol):
                    yield Rule((subset,), (PortMatch(entry.protocol, number, number),), ref)


def _rules(policy: Policy, way: Way) -> tuple[PolicyRule, ...] | None:
    return policy.ingress if way is Way.INGRESS else policy.egress


def _names_used(policies: tuple[Policy, ...]) -> frozenset[str]:
    return frozenset(
        entry.port
        for policy in policies
        for rule in policy.ingress or ()
        for entry in rule.ports or ()
        if isinstance(entry.port, str)
    )


def _numeric(rule: PolicyRule) -> tuple[PortMatch, ...] | None:
    if not rule.ports:
        return None
    found = []
    for entry in rule.ports:
        if isinstance(entry.port, int):
            found.append(PortMatch(entry.protocol, entry.port, entry.end or entry.port))
        elif entry.port is None:
            found.append(PortMatch(entry.protocol, 0, 65535))
    return tuple(found)


def _ingress_ports(rule: PolicyRule, pod: Pod) -> tuple[PortMatch, ...] | None:
    numeric = _numeric(rule)
    if numeric is None:
        return None
    resolved = [
        PortMatch(entry.protocol, port.number, port.number)
        for entry in rule.ports or ()
        for port in pod.ports
        if (port.name, port.protocol) == (entry.port, entry.protocol)
    ]
    return (*numeric, *resolved)


def _name(way: Way, ids: tuple[PolicyId, ...], resolved: tuple[object, ...]) -> str:
    return digest(way, *map(str, ids), *map(repr, resolved))
