"""Random worlds and probes for every test that needs many: small on purpose, so that rules really meet packets.

All choices go through one `random.Random`: a seed gives a fixed world, hypothesis' own Random gives shrinkable ones.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random

from vallum.model.objects import (
    ICMP,
    NAME_LABEL,
    SCTP,
    TCP,
    UDP,
    Block,
    NamedPort,
    Namespace,
    Node,
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

NODES = ("node1", "node2")
SPACES = ("red", "green", "blue")
PORTS = (80, 81, 443, 5000, 5004, 5010)
PROTOCOLS = (TCP, UDP, SCTP)
OUTSIDE = ("203.0.113.5", "203.0.113.70", "198.51.100.9", "2001:db8:5::5", "2001:db8:5:1::9", "2001:db8:9::1")
BLOCKS = (
    ("203.0.113.0/24", ("203.0.113.64/26",)),
    ("203.0.113.0/24", ()),
    ("198.51.100.0/24", ("198.51.100.9/32",)),
    ("0.0.0.0/0", ("203.0.113.0/25", "10.44.1.0/24")),
    ("10.44.2.0/24", ("10.44.2.12/32",)),
    ("2001:db8:5::/48", ("2001:db8:5:1::/64",)),
    ("2001:db8::/32", ()),
    ("::/0", ("2001:db8:9::/48",)),
    ("fd44:0:0:2::/64", ()),
)


@dataclass(frozen=True)
class Probe:
    """One question: ends by pod or by address text, protocol number, port, family."""

    source: PodId | str
    target: PodId | str
    protocol: int
    port: int
    family: int


def world(random: Random, pods: int = 9, policies: int = 7) -> Snapshot:
    """A world of two nodes, three namespaces, some pods and some policies."""
    things: list[Namespace | Node | Pod | Policy] = [
        Node(
            name,
            addresses=(ip_address(f"172.20.0.1{i}"), ip_address(f"fd00:172:20::1{i}")),
            pod_ranges=(ip_network(f"10.44.{i}.0/24"), ip_network(f"fd44:0:0:{i}::/64")),
        )
        for i, name in enumerate(NODES, 1)
    ]
    things += [
        Namespace(name, labels({NAME_LABEL: name, "team": random.choice("ab")} | _maybe(random, {"env": "prod"})))
        for name in SPACES
    ]
    things += [_pod(random, index) for index in range(pods)]
    things += [_policy(random, index) for index in range(random.randint(1, policies))]
    return snapshot_of(things)


def _maybe(random: Random, value: dict[str, str]) -> dict[str, str]:
    return value if random.random() < 0.5 else {}


def _pod(random: Random, index: int) -> Pod:
    node = 1 + index % 2
    found = {"app": random.choice(("web", "api", "db"))} | _maybe(random, {"tier": random.choice("xy")})
    addresses = (ip_address(f"10.44.{node}.{10 + index}"), ip_address(f"fd44:0:0:{node}::{10 + index:x}"))
    ports = tuple(
        NamedPort("http", random.choice((TCP, UDP)), random.choice(PORTS)) for _ in range(random.randint(0, 1))
    )
    return Pod(
        PodId(SPACES[index % 3], f"p{index}"),
        labels(found),
        NODES[node - 1],
        addresses,
        ports,
        created=f"2026-01-01T00:00:{index:02}Z",
    )


def _selector(random: Random) -> Selector:
    kind = random.randint(0, 5)
    value = random.choice(("web", "api", "db"))
    requirements = {
        0: (),
        1: (Requirement("app", Operator.IN, (value,)),),
        2: (Requirement("app", Operator.NOT_IN, (value,)),),
        3: (Requirement("tier", Operator.EXISTS),),
        4: (Requirement("tier", Operator.DOES_NOT_EXIST),),
        5: (Requirement("app", Operator.IN, ("api", "web")), Requirement("tier", Operator.NOT_IN, ("x",))),
    }
    return Selector(requirements[kind])


def _spaces(random: Random) -> Selector:
    kind = random.randint(0, 3)
    requirements = {
        0: (),
        1: (Requirement("team", Operator.IN, (random.choice("ab"),)),),
        2: (Requirement(NAME_LABEL, Operator.IN, (random.choice(SPACES),)),),
        3: (Requirement("env", Operator.EXISTS),),
    }
    return Selector(requirements[kind])


def _peer(random: Random) -> Peer:
    match random.randint(0, 3):
        case 0:
            return Peer(pods=_selector(random))
        case 1:
            return Peer(namespaces=_spaces(random))
        case 2:
            return Peer(_selector(random), _spaces(random))
        case _:
            network, excepts = random.choice(BLOCKS)
            return Peer(block=Block(ip_network(network), tuple(map(ip_network, excepts))))


def _port(random: Random) -> PolicyPort:
    protocol = random.choice(PROTOCOLS)
    match random.randint(0, 3):
        case 0:
            return PolicyPort(protocol)
        case 1:
            return PolicyPort(random.choice((TCP, UDP)), "http")
        case 2:
            first = random.choice((1, 80, 5000))
            return PolicyPort(protocol, first, first + random.choice((0, 4, 400, 60000)))
        case _:
            return PolicyPort(protocol, random.choice(PORTS))


def _rule(random: Random) -> PolicyRule:
    peers = None if random.random() < 0.2 else tuple(_peer(random) for _ in range(random.randint(1, 2)))
    ports = None if random.random() < 0.25 else tuple(_port(random) for _ in range(random.randint(1, 2)))
    return PolicyRule(peers, ports)


def _rules(random: Random) -> tuple[PolicyRule, ...]:
    return tuple(_rule(random) for _ in range(random.choice((0, 1, 1, 2))))


def _policy(random: Random, index: int) -> Policy:
    ingress, egress = random.choice(((True, False), (False, True), (True, True)))
    return Policy(
        PolicyId(random.choice(SPACES), f"policy{index}"),
        _selector(random),
        _rules(random) if ingress else None,
        _rules(random) if egress else None,
    )


def probes(random: Random, snapshot: Snapshot, count: int) -> list[Probe]:
    """Random probes between pods and outside ends; a pod never probes itself more often than chance has it."""
    pods = sorted(snapshot.pods)
    return [_probe(random, pods) for _ in range(count)]


def _probe(random: Random, pods: list[PodId]) -> Probe:
    family = random.choice((4, 6))
    outside = [text for text in OUTSIDE if ip_address(text).version == family]
    source: PodId | str = random.choice(pods)
    target: PodId | str = random.choice(pods)
    match random.randint(0, 5):
        case 0:
            source = random.choice(outside)
        case 1:
            target = random.choice(outside)
    protocol = random.choice((TCP, TCP, UDP, SCTP, ICMP))
    return Probe(source, target, protocol, random.choice(PORTS) if protocol != ICMP else 0, family)
