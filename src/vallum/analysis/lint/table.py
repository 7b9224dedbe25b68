"""The rules and the checks that find them. docs/lint.md has an entry for each; a test compares.

Ids are stable: they stand in people's `# vallum: ignore` comments. INVALID and the two about ignores are found by
who reads files, not by a check.
"""

from collections.abc import Callable, Iterator

from vallum.analysis.lint import blocks, isolation, objects, onesided, ports, redundancy, selecting
from vallum.analysis.lint.facts import Facts
from vallum.analysis.lint.finding import Finding, Level, Rule

INVALID, BAD_IGNORE, UNUSED_IGNORE = "invalid", "bad-ignore", "unused-ignore"

_ERRORS = {
    INVALID: "a manifest that cannot be read as it stands",
    BAD_IGNORE: "an ignore comment without a rule that exists or without a reason",
    "contradiction": "a selector that no labels can meet",
    "empty-peer": "a peer of nothing, `{}`, which matches nothing",
    "except-everything": "exceptions that take all of their block away",
    "except-outside": "an exception outside of its block",
    "host-bits": "a block with bits set behind its prefix",
    "portless-protocol": "ports of a protocol that has none",
    "types-drop-rules": "rules of a direction that policyTypes does not name, which have no effect",
    "workload-selector": "a workload that does not select its own pods",
}
_WARNINGS = {
    UNUSED_IGNORE: "an ignore comment that ignores nothing",
    "address-outside-range": "a pod with an address outside of its node's range",
    "address-twice": "two running pods with one address",
    "allow-all": "a rule that allows everything, beside rules of other policies",
    "block-of-pods": "an ipBlock made of addresses of pods",
    "block-of-service": "an ipBlock with the address of a Service, which no policy ever sees",
    "dns-forgotten": "pods that may send, but not ask for names",
    "duplicate-peer": "the same peer twice",
    "duplicate-policy": "two policies that say the same",
    "duplicate-port": "the same port twice",
    "duplicate-rule": "the same rule twice",
    "egress-refused": "egress to pods whose ingress policies never admit it",
    "empty-namespace": "a policy for every pod of a namespace that has none",
    "except-twice": "an exception inside of another",
    "family-mismatch": "an ipBlock of a family that the selected pods do not have",
    "finished-pods": "a selector that matches only pods that have finished",
    "host-network": "a selector that matches only pods on the host's network",
    "ingress-unreachable": "ingress from pods whose egress policies never let it out",
    "isolates-by-accident": "a direction that policyTypes names without rules, and so closes",
    "label-key-typo": "a label key that nobody has, one slip from one that somebody has",
    "label-value-typo": "a label value that nobody has, one slip from one that somebody has",
    "named-port-nobody": "a port name that none of the pods defines",
    "named-port-outside": "a port name for addresses outside of the cluster",
    "named-port-protocol": "a port name that exists under another protocol only",
    "namespace-nothing": "a namespaceSelector that matches no namespace",
    "old-annotation": "the annotation that isolated a namespace in 2016",
    "old-api": "a policy of extensions/v1beta1",
    "one-family": "every address of one family, for pods that have both",
    "peer-elsewhere": "a peer without namespaceSelector that would match in another namespace",
    "peer-nothing": "a peer that matches no pod",
    "range-overlap": "two port ranges that overlap",
    "selects-elsewhere": "a policy that would select pods in another namespace",
    "selects-nothing": "a policy that selects no pod",
    "service-port": "the port of a Service instead of that of the pods behind it",
    "shadowed-peer": "a peer that another of the same rule includes",
    "shadowed-port": "a port that another entry of the same rule includes",
    "shadowed-rule": "a rule that a wider one of the same policy includes",
    "two-peers-for-one": "podSelector and namespaceSelector as two peers where one was likely meant",
    "types-implied": "policyTypes missing, so that egress rules close ingress",
    "undeclared-namespace": "a namespace that is used and not declared, where others are",
    "unknown-node": "a pod on a node that does not exist, where others do",
    "workload-labels": "labels that a workload has and its pods lack",
}
_NOTES = {
    "block-holds-pods": "an ipBlock that matches pods besides outside addresses",
    "dns-over-tcp": "UDP port 53 without TCP port 53",
    "host-network-too": "a selector that matches pods on the host's network besides others",
    "named-port-numbers": "a port name with several numbers",
    "no-pods": "a world without pods",
    "not-in-nobody": "NotIn with a value that nobody has",
    "open-to-all": "ingress from every address",
    "port-not-listed": "a port that no selected pod lists",
    "ports-not-all": "all of TCP and UDP, which is not everything",
    "range-of-all": "a range of all ports",
    "range-of-one": "a range of one port",
    "service-nothing": "a Service without pods",
    "unprotected": "a pod that no policy selects, where policies select others",
    "value-nobody-has": "one of several values that nobody has",
}
RULES: dict[str, Rule] = {
    id_: Rule(level, summary)
    for level, group in ((Level.ERROR, _ERRORS), (Level.WARNING, _WARNINGS), (Level.NOTE, _NOTES))
    for id_, summary in group.items()
}

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    selecting.no_pods,
    selecting.subjects,
    selecting.peers,
    blocks.blocks,
    ports.ports,
    redundancy.redundancy,
    redundancy.policies,
    isolation.types,
    isolation.names,
    isolation.unprotected,
    onesided.one_sided,
    objects.pods,
    objects.namespaces,
    objects.workloads,
    objects.services,
    objects.old_forms,
)
