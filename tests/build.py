"""Short words for small worlds, and the question whether a packet passes in them.

`passes` asks the judge and the Tables and refuses to answer when they differ, so every test of the compiler is one of
the classifier too.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from vallum.analysis.probe import Ends, parse
from vallum.model.objects import (
    NAME_LABEL,
    TCP,
    Block,
    NamedPort,
    Namespace,
    Node,
    Object,
    Peer,
    Pod,
    PodId,
    Policy,
    PolicyId,
    PolicyPort,
    PolicyRule,
)
from vallum.model.selector import Operator, Requirement, Selector, labels
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from vallum.policy.verdict import Verdict

NODE1 = Node("node1", (), (ip_address("172.20.0.11"), ip_address("fd00:172:20::11")))
NODE2 = Node("node2", (), (ip_address("172.20.0.12"), ip_address("fd00:172:20::12")))


def space(name: str, **more: str) -> Namespace:
    """A namespace with these labels and its name label."""
    return Namespace(name, labels({NAME_LABEL: name} | more))


def pod(
    name: str,
    *addresses: str,
    node: str = "node1",
    ports: Iterable[NamedPort] = (),
    host_network: bool = False,
    finished: bool = False,
    created: str = "",
    **more: str,
) -> Pod:
    """A pod `namespace/name` with these labels."""
    namespace, _, own = name.partition("/")
    return Pod(
        PodId(namespace, own),
        labels(more),
        node,
        tuple(map(ip_address, addresses)),
        tuple(ports),
        host_network,
        finished,
        created,
    )


def policy(
    name: str,
    pods: Selector | None = None,
    ingress: Iterable[PolicyRule] | None = None,
    egress: Iterable[PolicyRule] | None = None,
) -> Policy:
    """A policy `namespace/name`; no selector selects every pod of the namespace."""
    namespace, _, own = name.partition("/")
    return Policy(
        PolicyId(namespace, own),
        pods or Selector(),
        None if ingress is None else tuple(ingress),
        None if egress is None else tuple(egress),
    )


def select(**wanted: str) -> Selector:
    """MatchLabels."""
    return Selector(tuple(Requirement(key, Operator.IN, (value,)) for key, value in sorted(wanted.items())))


def rule(*peers: Peer, ports: Iterable[PolicyPort] | None = None) -> PolicyRule:
    """A rule; without peers it admits every end."""
    return PolicyRule(peers or None, None if ports is None else tuple(ports))


def block(network: str, *excepts: str) -> Peer:
    """An ipBlock."""
    return Peer(block=Block(ip_network(network), tuple(map(ip_network, excepts))))


def port(number: int | str | None, end: int | None = None, protocol: int = TCP) -> PolicyPort:
    """One entry of ports."""
    return PolicyPort(protocol, number, end)


def ask(things: Iterable[Object], source: str, target: str, number: int = 80, **more: object) -> Verdict:
    """What the judge says of one probe; every other way of deciding has to agree."""
    snapshot = snapshot_of(tuple(things))
    probe = parse({"from": source, "to": target, "port": number} | more)
    packet = Ends(snapshot).packet(probe, known_flow=probe.of is not None)
    for node in (None, *sorted(snapshot.nodes)):
        ruleset = compile_node(snapshot, node)
        verdict = Judge(ruleset)(packet)
        assert decide(classify(ruleset), packet) == verdict.allow, (node, verdict)
    return Judge(compile_node(snapshot, None))(packet)


def passes(things: Iterable[Object], source: str, target: str, number: int = 80, **more: object) -> bool:
    """Whether it passes."""
    return ask(things, source, target, number, **more).allow


def walk(snapshot: Snapshot) -> tuple[Object, ...]:
    """Every object of a snapshot."""
    kinds: tuple[Mapping[object, Object], ...] = (
        snapshot.namespaces,
        snapshot.nodes,
        snapshot.pools,
        snapshot.pods,
        snapshot.policies,
    )  # type: ignore[assignment]
    return tuple(thing for kind in kinds for thing in kind.values())
