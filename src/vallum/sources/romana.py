"""Romana's own policies said as NetworkPolicies: tenant is namespace, segment is the value of one label of the pods.

Romana dropped whatever no policy admitted, so each tenant that a policy protects becomes a namespace that denies
everything, beside which the policies add. A pod without the label was in segment `default`. Ignores what cannot be
said: `romana_schema` refused it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from vallum.model.objects import NAME_LABEL, PolicyId
from vallum.sources.old_forms import POLICY_API

SEGMENT_LABEL = "romana.io/segment"
"""The label that Romana 2.0 read where it was not told another."""

_DEFAULT_SEGMENT = "default"
_LONGEST = 200
_Body = dict[str, Any]


def in_v1(policy: _Body, segment_label: str, taken: set[PolicyId]) -> list[_Body]:
    """The NetworkPolicies of a checked Romana policy. `taken`: names in use, to which the new ones are added."""
    return [
        _policy(_name(tenant, policy, taken), selector, _clauses(policy), segment_label)
        for tenant, selector in _targets(policy, segment_label)
    ]


def tenants(policies: Iterable[_Body]) -> set[str]:
    """The tenants that these policies protect."""
    return {_tenant(target) for policy in policies for target in policy.get("applied_to") or []}


def _tenant(end: _Body) -> str:
    return str(end.get("tenant_id") or end.get("tenant"))


def _segments(end: _Body, label: str) -> list[_Body]:
    """Selectors that together select the pods of a segment, all pods where none is named."""
    segment = end.get("segment_id") or end.get("segment")
    if segment is None:
        return [{}]
    named = {"matchLabels": {label: segment}}
    absent = {"matchExpressions": [{"key": label, "operator": "DoesNotExist"}]}
    return [named, absent] if segment == _DEFAULT_SEGMENT else [named]


def _targets(policy: _Body, label: str) -> Iterator[tuple[str, _Body]]:
    for target in policy.get("applied_to") or []:
        for selector in _segments(target, label):
            yield _tenant(target), selector


def _name(tenant: str, policy: _Body, taken: set[PolicyId]) -> PolicyId:
    """The policy's id as far as a Kubernetes name can hold it, with a number where that is in use."""
    text = str(policy.get("id") or policy.get("name") or "romana")
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST].strip("-") or "romana"
    found, number = PolicyId(tenant, base), 2
    while found in taken:
        found, number = PolicyId(tenant, f"{base}-{number}"), number + 1
    taken.add(found)
    return found


def _clauses(policy: _Body) -> list[_Body]:
    """Its clauses; the older form has one, spread over the policy."""
    if policy.get("ingress") is not None:
        return [clause for clause in policy["ingress"] if clause]
    return [{"peers": policy.get("peers"), "rules": policy.get("rules")}]


def _policy(id_: PolicyId, selector: _Body, clauses: list[_Body], label: str) -> _Body:
    return {
        "apiVersion": POLICY_API,
        "kind": "NetworkPolicy",
        "metadata": {"name": id_.name, "namespace": id_.namespace},
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": [rule for clause in clauses for rule in _rules(clause, label)],
        },
    }


def _rules(clause: _Body, label: str) -> Iterator[_Body]:
    """Each of its peers by each of its rules, as far as possible in one; a clause without either admits nothing."""
    peers, rules = clause.get("peers") or [], clause.get("rules") or []
    ports = [port for rule in rules if rule["protocol"] != "any" for port in _ports(rule)]
    everything = len(rules) > sum(rule["protocol"] != "any" for rule in rules)
    if not peers or not rules:
        return
    anybody = any("peer" in peer for peer in peers)
    sources = {} if anybody else {"from": [found for peer in peers for found in _peers(peer, label)]}
    yield sources if everything else sources | {"ports": ports}


def _peers(peer: _Body, label: str) -> Iterator[_Body]:
    if peer.get("cidr") is not None:
        yield {"ipBlock": {"cidr": peer["cidr"]}}
        return
    namespace = {"namespaceSelector": {"matchLabels": {NAME_LABEL: _tenant(peer)}}}
    yield from (namespace | ({"podSelector": pods} if pods else {}) for pods in _segments(peer, label))


def _ports(rule: _Body) -> Iterator[_Body]:
    protocol = {"protocol": rule["protocol"].upper()}
    singles = [(number, number) for number in rule.get("ports") or []]
    ranges = [(low, high) for low, high in [*singles, *(rule.get("port_ranges") or [])]]
    if not ranges or (0, 65535) in ranges:
        yield protocol
        return
    for low, high in ranges:
        yield protocol | {"port": low} | ({"endPort": high} if high > low else {})
