"""Rules about isolation: policyTypes that surprise, directions that close by accident, names that cannot be asked for.

A policy that only denies is meant so (the usual default-deny) and never reported here.
"""

from collections.abc import Iterator

from vallum.analysis.lint.facts import Facts, Kind, rules_of, some, ways
from vallum.analysis.lint.finding import Finding, about
from vallum.analysis.lint.ports import DNS
from vallum.model.objects import UDP, Policy, PolicyPort, PolicyRule
from vallum.model.snapshot import key_of
from vallum.policy.ruleset import Way

_DNS_LABELS = frozenset({("k8s-app", "kube-dns"), ("k8s-app", "coredns"), ("k8s-app", "node-local-dns")})


def types(facts: Facts) -> Iterator[Finding]:
    """What policyTypes makes of the rules beside it."""
    for policy in facts.policies:
        text = facts.written.policies.get(policy.id)
        for way in Way:
            name = way.capitalize()
            if text and text.types is not None and name in text.with_rules and name not in text.types:
                problem = f"policyTypes does not name {name}, so the {way} rules have no effect"
                yield about(policy, "types-drop-rules", ("spec", str(way)), problem, f"add {name} to policyTypes")
            elif _closes(facts, policy, way):
                yield _closing(policy, way, implied=bool(text and text.types is None))


def _closes(facts: Facts, policy: Policy, way: Way) -> bool:
    """Reports whether a policy with rules for one direction denies the other, and no other policy does."""
    other = Way.EGRESS if way is Way.INGRESS else Way.INGRESS
    if rules_of(policy, way) != () or not rules_of(policy, other):
        return False
    return any(facts.isolating[kind, way] == [policy] for kind in facts.subjects(policy))


def _closing(policy: Policy, way: Way, *, implied: bool) -> Finding:
    other = "Egress" if way is Way.INGRESS else "Ingress"
    if implied:
        text = "policyTypes is missing, which means Ingress too: this policy denies all ingress"
        return about(policy, "types-implied", ("spec",), text, f"write `policyTypes: [{other}]`, if that is not meant")
    text = f"policyTypes names {way.capitalize()} without {way} rules: this policy alone denies all {way}"
    cure = f"remove {way.capitalize()}, or deny it in a policy of its own that says so"
    return about(policy, "isolates-by-accident", ("spec", "policyTypes"), text, cure)


def names(facts: Facts) -> Iterator[Finding]:
    """Pods that may go somewhere but cannot ask for its name."""
    servers = frozenset(kind for kind in facts.living.kinds if _DNS_LABELS & {*kind.labels.items()})
    asking = {policy.id for policy in facts.policies if _may_ask(facts, policy, servers)}
    told: set[object] = set()
    for (kind, way), policies in facts.isolating.items():
        if way is Way.INGRESS or kind in servers or any(policy.id in asking for policy in policies):
            continue
        talking = [policy for policy in policies if policy.egress]
        if talking and talking[0].id not in told:
            told.add(talking[0].id)
            text = f"{kind} may send, but may not ask for names: no rule allows UDP port 53"
            if servers:
                text += f" to {some(sorted(map(str, servers)))}"
            cure = "allow UDP and TCP port 53 to the cluster's DNS"
            yield about(talking[0], "dns-forgotten", ("spec", "egress"), text, cure)


def _may_ask(facts: Facts, policy: Policy, servers: frozenset[Kind]) -> bool:
    for rule in policy.egress or ():
        if not _has_dns_port(rule, servers):
            continue
        if rule.peers is None or not servers:
            return True
        for peer in rule.peers:
            if peer.block is not None or servers & {*facts.peers(peer, policy.id.namespace)}:
                return True
    return False


def _has_dns_port(rule: PolicyRule, servers: frozenset[Kind]) -> bool:
    return not rule.ports or any(port.protocol == UDP and _is_dns(port, servers) for port in rule.ports)


def _is_dns(port: PolicyPort, servers: frozenset[Kind]) -> bool:
    if port.port is None:
        return True
    if isinstance(port.port, str):
        return not servers or any((UDP, DNS) in kind.named.get(port.port, ()) for kind in servers)
    return port.port <= DNS <= (port.end or port.port)


def unprotected(facts: Facts) -> Iterator[Finding]:
    """Pods that no policy isolates, in namespaces where policies protect others."""
    guarded = {policy.id.namespace for policy in facts.policies if ways(policy)}
    for space in sorted(guarded):
        for kind in facts.living.by_space.get(space, ()):
            if not any((kind, way) in facts.isolating for way in Way):
                text = f"no policy of {space} selects {kind}, which is open in both directions"
                cure = "add a default-deny policy (`podSelector: {}`), or select it"
                yield Finding("unprotected", key_of(kind.pods[0]), ("metadata", "labels"), text, cure)
