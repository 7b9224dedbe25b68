"""Rules about ports: names that nobody defines, numbers that are a Service's, ranges that say less than meant.

A port is the destination pod's (stances 10 and 11): the selected pods' for ingress, the peers' for egress.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vallum.analysis.lint.facts import Facts, Kind, each_peer, each_port, each_rule, some
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.analysis.lint.spelling import Spelling
from vallum.model.objects import PROTOCOL_NAMES, TCP, UDP, Peer, Policy, PolicyPort, PolicyRule
from vallum.model.packet import PORTED
from vallum.policy.ruleset import Way
from vallum.policy.selectors import matches

DNS = 53
_LAST = 65535


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule where it stands, and the pods whose ports it means."""

    policy: Policy
    way: Way
    rule: PolicyRule
    path: Path
    targets: tuple[Kind, ...]
    outside: bool
    named: Mapping[str, set[tuple[int, int]]] = field(default_factory=dict)


def ports(facts: Facts) -> Iterator[Finding]:
    """All that is odd about the ports of rules."""
    for policy in facts.policies:
        for way, path, rule in each_rule(policy):
            if rule.ports is None:
                continue
            found = _targets(facts, policy, way, path, rule)
            for place, port in each_port(path, rule):
                if isinstance(port.port, str):
                    yield from _name(found, place, port, port.port)
                else:
                    yield from _range(found, place, port)
                    yield from _number(facts, found, place, port)
            yield from _together(found)


def _targets(facts: Facts, policy: Policy, way: Way, path: Path, rule: PolicyRule) -> _Rule:
    kinds: dict[Kind, None] = {}
    peers = [peer for _, peer in each_peer(way, path, rule)]
    if way is Way.INGRESS:
        kinds = dict.fromkeys(facts.subjects(policy))
    elif rule.peers is None:
        kinds = dict.fromkeys(facts.living.kinds) if _has_names(rule) else {}
    elif _has_names(rule) or facts.services:
        kinds = dict.fromkeys(kind for peer in peers for kind in _of(facts, policy, peer))
    named: dict[str, set[tuple[int, int]]] = {}
    if _has_names(rule):
        for kind in kinds:
            for name, numbers in kind.named.items():
                named.setdefault(name, set()).update(numbers)
    outside = way is Way.EGRESS and bool(peers) and all(peer.block for peer in peers)
    return _Rule(policy, way, rule, path, tuple(kinds), outside, named)


def _of(facts: Facts, policy: Policy, peer: Peer) -> Iterator[Kind]:
    yield from facts.peers(peer, policy.id.namespace) if peer.block is None else facts.inside(peer.block)


def _has_names(rule: PolicyRule) -> bool:
    return any(isinstance(port.port, str) for port in rule.ports or ())


def _name(found: _Rule, path: Path, port: PolicyPort, name: str) -> Iterator[Finding]:
    place = (*path, "port")
    if not found.targets:
        if found.outside:
            text = f"the port name `{name}` means ports of pods, and no pod is in the ipBlock"
            yield about(found.policy, "named-port-outside", place, text, "write the number of the port")
        return
    defined = found.named.get(name, set())
    numbers = sorted(number for protocol, number in defined if protocol == port.protocol)
    whose = "no selected pod" if found.way is Way.INGRESS else "no pod of these peers"
    if not defined:
        near = Spelling(found.named).nearest(name)
        cure = f"did you mean `{near}`?" if near else "name it in the pods' containers, or write the number"
        yield about(found.policy, "named-port-nobody", place, f"{whose} has a port named `{name}`", cure)
    elif not numbers:
        had, asked = PROTOCOL_NAMES[min(defined)[0]], PROTOCOL_NAMES[port.protocol]
        text = f"{whose} has a {asked} port named `{name}`; there it is {had}"
        yield about(found.policy, "named-port-protocol", place, text, f"write `protocol: {had}`")
    elif len(numbers) > 1:
        text = f"`{name}` is {some(numbers)} on different pods; each number holds on its own pods only"
        yield about(found.policy, "named-port-numbers", place, text, "nothing to do where that is meant")


def _range(found: _Rule, path: Path, port: PolicyPort) -> Iterator[Finding]:
    first, last = port.port, port.end
    if port.protocol not in PORTED:
        text = (
            f"protocol {PROTOCOL_NAMES.get(port.protocol, port.protocol)} has no ports, so this entry matches nothing"
        )
        cure = "leave `ports` out to allow every protocol"
        yield about(found.policy, "portless-protocol", (*path, "protocol"), text, cure)
    elif last is not None and first == last:
        text = f"the range from {first} to {last} is one port"
        yield about(found.policy, "range-of-one", (*path, "endPort"), text, "remove endPort")
    elif first == 1 and last == _LAST:
        text = f"every port of {PROTOCOL_NAMES[port.protocol]}, in a roundabout way"
        yield about(found.policy, "range-of-all", (*path, "endPort"), text, "leave port and endPort out")


def _number(facts: Facts, found: _Rule, path: Path, port: PolicyPort) -> Iterator[Finding]:
    if not isinstance(port.port, int) or not found.targets or port.end not in (None, port.port):
        return
    asked = (port.protocol, port.port)
    if any(asked in kind.ports for kind in found.targets):
        return
    targets = sorted(_behind_services(facts, found, port))
    if targets:
        service, target = targets[0]
        text = f"{port.port} is the port of Service {service}, not of the pods behind it"
        yield about(found.policy, "service-port", (*path, "port"), text, f"write the pods' port: {target}")
    elif found.way is Way.INGRESS and all(any(p == port.protocol for p, _ in kind.ports) for kind in found.targets):
        declared = sorted({number for kind in found.targets for p, number in kind.ports if p == port.protocol})
        text = f"no selected pod lists {PROTOCOL_NAMES[port.protocol]} port {port.port}; they list {some(declared)}"
        cure = "check the number; containers may listen on ports that they do not list"
        yield about(found.policy, "port-not-listed", (*path, "port"), text, cure)


def _behind_services(facts: Facts, found: _Rule, port: PolicyPort) -> Iterator[tuple[str, str]]:
    """Services with this port in front of the targets, and the port they lead to."""
    for space in {kind.namespace for kind in found.targets} if facts.services else ():
        for service in facts.services.get(space, ()):
            for entry in service.ports:
                asked = (entry.protocol, entry.port) == (port.protocol, port.port)
                if (
                    asked
                    and entry.target != entry.port
                    and service.pods
                    and any(kind.namespace == space and matches(service.pods, kind.labels) for kind in found.targets)
                ):
                    yield str(service.id), str(entry.target)


def _together(found: _Rule) -> Iterator[Finding]:
    """What the entries of one rule leave out together."""
    entries = found.rule.ports or ()
    covered = {port.protocol for port in entries if _allows(port, DNS)}
    exact = [port for port in entries if port.protocol == UDP and port.port == DNS]
    if exact and TCP not in covered:
        text = "UDP port 53 without TCP port 53: large answers come over TCP"
        yield about(found.policy, "dns-over-tcp", (*found.path, "ports"), text, "add `{protocol: TCP, port: 53}`")
    whole = {port.protocol for port in entries if port.port is None or (port.port == 1 and port.end == _LAST)}
    if {TCP, UDP} <= whole:
        text = "every port of TCP and UDP is not everything: ICMP (ping) stays out"
        yield about(
            found.policy, "ports-not-all", (*found.path, "ports"), text, "leave `ports` out to allow everything"
        )


def _allows(port: PolicyPort, number: int) -> bool:
    if port.port is None or isinstance(port.port, str):
        return True
    return port.port <= number <= (port.end or port.port)
