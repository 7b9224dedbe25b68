"""Whom policies select: subjects and peers that match nobody, and parts of selectors that say nothing.

A world without a single pod says nothing about selectors of pods: then one note says so, and the rest keeps still.
"""

from collections.abc import Iterator
from itertools import pairwise

from vallum.analysis.lint.facts import Facts, Spaces, each_peer, each_rule, some
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.analysis.lint.nothing import Question, contradictions, why_no_pod, why_no_space
from vallum.model.objects import Peer, Policy
from vallum.model.selector import EVERYTHING, Operator, Selector


def no_pods(facts: Facts) -> Iterator[Finding]:
    """Selectors are judged against pods."""
    if facts.policies and not facts.snapshot.pods:
        cure = "lint the folder together with its workloads"
        text = "this world has no pod and no workload, so nothing is said about who is selected"
        yield about(facts.policies[0], "no-pods", (), text, cure)


def subjects(facts: Facts) -> Iterator[Finding]:
    """Policies that select nobody."""
    if not facts.snapshot.pods:
        for policy in facts.policies:
            yield from contradictions(policy, ("spec", "podSelector"), policy.pods)
        return
    populated = {pod.namespace for pod in facts.snapshot.pods}
    for policy in facts.policies:
        space, path = policy.id.namespace, ("spec", "podSelector")
        if facts.subjects(policy):
            yield from _unused_values(facts, policy, path, policy.pods, frozenset({space}))
            yield from _hosts_besides(facts, policy)
        elif space not in populated and not policy.pods.requirements:
            text = f"namespace {space} has no pods, so this policy does nothing"
            yield about(policy, "empty-namespace", path, text, "remove it, or check the namespace's name")
        else:
            yield why_no_pod(facts, Question(policy, path, policy.pods, frozenset({space}), subject=True))


def _hosts_besides(facts: Facts, policy: Policy) -> Iterator[Finding]:
    """An empty selector means whoever is there; one with labels named these pods."""
    if not policy.pods.requirements:
        return
    host = facts.host.of(policy.pods, frozenset({policy.id.namespace}))
    if host:
        text = f"{some(host)} matches too, but is on the host's network, where this policy has no effect"
        yield about(policy, "host-network-too", ("spec", "podSelector"), text, "protect the node itself")


def peers(facts: Facts) -> Iterator[Finding]:
    """Peers that match nobody, and what is odd about those that do."""
    for policy in facts.policies:
        for way, path, rule in each_rule(policy):
            for place, peer in each_peer(way, path, rule):
                yield from _peer(facts, policy, place, peer)
            yield from _torn(policy, [found for _, found in each_peer(way, path, rule)], path)


def _peer(facts: Facts, policy: Policy, path: Path, peer: Peer) -> Iterator[Finding]:
    if peer.block is not None:
        return
    if peer.pods is None and peer.namespaces is None:
        text = "this peer is empty and matches nothing"
        yield about(policy, "empty-peer", path, text, "leave the list out to mean everybody")
        return
    spaces: Spaces = frozenset({policy.id.namespace})
    if peer.namespaces is not None:
        spaces = facts.spaces(peer.namespaces)
        place = (*path, "namespaceSelector")
        if not spaces:
            if facts.written.declared or facts.snapshot.pods:
                yield why_no_space(facts, Question(policy, place, peer.namespaces, spaces, subject=False))
            return
        yield from _unused_spaces(facts, policy, place, peer.namespaces)
    if not facts.snapshot.pods:
        yield from contradictions(policy, (*path, "podSelector"), peer.pods or EVERYTHING)
    elif not facts.peers(peer, policy.id.namespace):
        place = (*path, "podSelector" if peer.pods is not None else "namespaceSelector")
        yield why_no_pod(facts, Question(policy, place, peer.pods or EVERYTHING, spaces, subject=False))
    elif peer.pods is not None:
        yield from _unused_values(facts, policy, (*path, "podSelector"), peer.pods, spaces)


def _unused_values(facts: Facts, policy: Policy, path: Path, selector: Selector, spaces: Spaces) -> Iterator[Finding]:
    if any(requirement.operator in (Operator.IN, Operator.NOT_IN) for requirement in selector.requirements):
        yield from _values(policy, path, selector, facts.vocabulary(spaces).values, "pod")


def _unused_spaces(facts: Facts, policy: Policy, path: Path, selector: Selector) -> Iterator[Finding]:
    yield from _values(policy, path, selector, facts.space_vocabulary.values, "namespace")


def _values(policy: Policy, path: Path, selector: Selector, known: dict[str, set[str]], what: str) -> Iterator[Finding]:
    for requirement in selector.requirements:
        unused = [value for value in requirement.values if value not in known.get(requirement.key, ())]
        if not unused:
            continue
        place, shown = (*path, requirement.key), ", ".join(unused)
        if requirement.operator is Operator.IN:
            text = f"no {what} here has {requirement.key} with the value {shown}"
            yield about(policy, "value-nobody-has", place, text, "remove the value, or correct it")
        elif requirement.operator is Operator.NOT_IN:
            text = f"no {what} here has {requirement.key} with the value {shown}, so this excludes nobody by it"
            yield about(policy, "not-in-nobody", place, text, "remove the value, or correct it")


def _torn(policy: Policy, found: list[Peer], path: Path) -> Iterator[Finding]:
    """A dash too many: what was meant as one peer with both selectors became two peers."""
    side = "from" if path[1] == "ingress" else "to"
    for index, (one, other) in enumerate(pairwise(found), start=1):
        pods_then_spaces = _only_pods(one) and _only_spaces(other)
        if pods_then_spaces or (_only_spaces(one) and _only_pods(other)):
            pods, spaces = (one.pods, other.namespaces) if pods_then_spaces else (other.pods, one.namespaces)
            if pods is None or spaces is None or not pods.requirements:
                continue
            text = f"two peers, either of which is enough: {pods} in this namespace, or every pod of {spaces}"
            cure = f"if both must hold, remove the `-` before {side}[{index}], so that they are one peer"
            yield about(policy, "two-peers-for-one", (*path, side, index), text, cure)


def _only_pods(peer: Peer) -> bool:
    return peer.pods is not None and peer.namespaces is None


def _only_spaces(peer: Peer) -> bool:
    return peer.namespaces is not None and peer.pods is None
