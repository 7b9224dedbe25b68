"""Rules about what policies meet: pods, nodes, namespaces, Services, workloads, and the forms of 2016."""

from collections.abc import Iterator

from vallum.analysis.lint.facts import Facts
from vallum.analysis.lint.finding import Finding, about
from vallum.analysis.lint.spelling import Spelling
from vallum.model.address import Address
from vallum.model.objects import Pod, PodId, Policy
from vallum.model.snapshot import Key, key_of
from vallum.policy.selectors import matches

_ALWAYS = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


def pods(facts: Facts) -> Iterator[Finding]:
    """Pods that claim what is not theirs, and nodes that nobody knows."""
    nodes = facts.snapshot.nodes
    spelling = Spelling(nodes)
    owners: dict[Address, PodId] = {}
    missed: set[str] = set()
    for _, pod in sorted(facts.snapshot.pods.items()):
        if nodes and pod.node and pod.node not in nodes and pod.node not in missed:
            missed.add(pod.node)
            near = spelling.nearest(pod.node)
            cure = f"did you mean {near}?" if near else "declare the Node, or correct the name"
            text = f"there is no node {pod.node} in this world"
            yield Finding("unknown-node", key_of(pod), ("spec", "nodeName"), text, cure)
        if not pod.finished and not pod.host_network:
            yield from _addresses(facts, pod, owners)


def _addresses(facts: Facts, pod: Pod, owners: dict[Address, PodId]) -> Iterator[Finding]:
    node = facts.snapshot.nodes.get(pod.node or "")
    for index, address in enumerate(pod.addresses):
        place = ("status", "podIPs", index) if index else ("status", "podIP")
        owner = owners.setdefault(address, pod.id)
        if owner != pod.id:
            text = f"{address} is the address of {owner} as well; the newest of them has it"
            yield Finding("address-twice", key_of(pod), place, text, "give each pod an address of its own")
        own = [network for network in (node.pod_ranges if node else ()) if network.version == address.version]
        if node and own and address not in own[0]:
            text = f"{address} lies outside of {own[0]}, the range of {node.name}"
            cure = "correct the address, the node, or the node's podCIDRs"
            yield Finding("address-outside-range", key_of(pod), place, text, cure)


def namespaces(facts: Facts) -> Iterator[Finding]:
    """Namespaces that are used and not declared, in a world that declares others."""
    declared = facts.written.declared
    if declared:
        spelling, told = Spelling(declared), set(declared | _ALWAYS)
        things: list[Pod | Policy] = [*facts.policies, *(pod for _, pod in sorted(facts.snapshot.pods.items()))]
        for thing in things:
            space = thing.id.namespace
            if space not in told:
                told.add(space)
                near = spelling.nearest(space)
                cure = f"did you mean {near}?" if near else "declare it with its labels"
                text = f"namespace {space} is not declared here, so it has no labels but its name"
                yield Finding("undeclared-namespace", key_of(thing), ("metadata", "namespace"), text, cure)


def workloads(facts: Facts) -> Iterator[Finding]:
    """Workloads that do not select their own pods, which the API server refuses."""
    for workload in facts.written.workloads:
        if workload.selector and not matches(workload.selector, dict(workload.template)):
            text = f"{workload.kind} {workload.id} selects {workload.selector}, but its template has other labels"
            cure = "give the template the labels that the selector asks for"
            yield Finding("workload-selector", workload.key, ("spec", "selector"), text, cure)


def services(facts: Facts) -> Iterator[Finding]:
    """Services with nobody behind them."""
    for service in facts.written.services if facts.snapshot.pods else ():
        spaces = frozenset({service.id.namespace})
        if service.pods and not any(group.of(service.pods, spaces) for group in (facts.living, facts.host)):
            text = f"Service {service.id} has no pod behind it: none with {service.pods}"
            yield Finding("service-nothing", service.key, ("spec", "selector"), text, "select labels that pods have")


def old_forms(facts: Facts) -> Iterator[Finding]:
    """What was written for the API of 2016."""
    for policy in facts.policies:
        text = facts.written.policies.get(policy.id)
        if text and text.old:
            problem = "extensions/v1beta1 is gone since Kubernetes 1.16"
            yield about(policy, "old-api", ("apiVersion",), problem, "write networking.k8s.io/v1")
    for space, annotation in facts.written.annotated:
        key: Key = ("Namespace", "", space)
        problem = "this annotation isolated a namespace in 2016; the API of today does not read it"
        cure = "write a NetworkPolicy with `podSelector: {}` and no rules"
        yield Finding("old-annotation", key, ("metadata", "annotations", annotation), problem, cure)
