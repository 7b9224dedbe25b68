"""A large cluster as decoded objects: what `bench engine` compiles. Pure; the same arguments give the same world.

Pods come from deployments of ten, or of one where labels are to be unique; they carry the six labels that charts give
them. Policies mix all forms: own namespace, other namespaces, the whole cluster, blocks, ranges and named ports. What
it ignores: anything that is only about packets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from random import Random

from vallum.model.objects import (
    NAME_LABEL,
    TCP,
    UDP,
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

PER_NODE = 110
_APPS, _INSTANCES, _PARTS, _TEAMS = 400, 2800, 50, 40
_FIRST = int(IPv4Address("10.0.0.0"))


@dataclass(frozen=True, slots=True)
class Size:
    """How large. `unique`: every pod has labels of its own, otherwise ten share theirs."""

    pods: int
    namespaces: int
    policies: int
    unique: bool = False


def crowd(size: Size, seed: int = 1) -> list[Object]:
    """All objects of such a cluster."""
    random = Random(seed)
    spaces = [_space(number) for number in range(size.namespaces)]
    nodes = [_node(number) for number in range(-(-size.pods // PER_NODE))]
    pods = list(_pods(size, random))
    return [*spaces, *nodes, *pods, *(policy(random, size, number) for number in range(size.policies))]


def _space(number: int) -> Namespace:
    name = f"space-{number}"
    return Namespace(name, labels({NAME_LABEL: name, "team": f"team-{number % _TEAMS}", "stage": _stage(number)}))


def _stage(number: int) -> str:
    return ("dev", "test", "prod")[number % 3]


def _node(number: int) -> Node:
    return Node(f"node-{number}", (), (IPv4Address(int(IPv4Address("172.16.0.1")) + number),))


def _pods(size: Size, random: Random) -> Iterator[Pod]:
    share = 1 if size.unique else 10
    seats = [number // PER_NODE for number in range(size.pods)]
    random.shuffle(seats)
    for deployment in range(-(-size.pods // share)):
        namespace, carried, ports = f"space-{deployment % size.namespaces}", _labels(deployment), _ports(deployment)
        for number in range(deployment * share, min(size.pods, (deployment + 1) * share)):
            yield Pod(
                PodId(namespace, f"pod-{number}"),
                carried,
                f"node-{seats[number]}",
                (IPv4Address(_FIRST + number),),
                ports,
                created="2026-01-01T00:00:00Z",
                owner=f"Deployment/app-{deployment}",
            )


def _labels(deployment: int) -> tuple[tuple[str, str], ...]:
    return labels(
        {
            "app": f"app-{deployment % _APPS}",
            "instance": f"instance-{deployment % _INSTANCES}",
            "part-of": f"part-{deployment % _PARTS}",
            "tier": ("web", "api", "db", "job")[deployment // 7 % 4],
            "env": _stage(deployment // 3),
            "pod-template-hash": f"{deployment:08x}",
        }
    )


def _ports(deployment: int) -> tuple[NamedPort, ...]:
    return (NamedPort("http", TCP, 8080 + deployment % 2), NamedPort("metrics", TCP, 9090))


def policy(random: Random, size: Size, number: int) -> Policy:
    """One more policy of the mix."""
    namespace = f"space-{number % size.namespaces}"
    ingress = tuple(_rule(random) for _ in range(random.randint(1, 2)))
    egress = tuple(_rule(random) for _ in range(random.randint(0, 1)))
    return Policy(PolicyId(namespace, f"policy-{number}"), _subject(random), ingress, egress or None)


def _subject(random: Random) -> Selector:
    if random.random() < 0.1:
        return Selector()
    if random.random() < 0.3:
        return _selector(("tier", random.choice(("web", "api", "db", "job"))))
    return _selector(("app", f"app-{random.randrange(_APPS)}"))


def _rule(random: Random) -> PolicyRule:
    peers = tuple(_peer(random) for _ in range(random.randint(1, 3)))
    return PolicyRule(peers, _policy_ports(random) if random.random() < 0.9 else None)


def _peer(random: Random) -> Peer:
    form = random.random()
    app = _selector(("app", f"app-{random.randrange(_APPS)}"))
    if form < 0.4:
        return Peer(pods=app if random.random() < 0.7 else _selector(("tier", "web"), ("env", "prod")))
    if form < 0.65:
        return Peer(app, _selector(("team", f"team-{random.randrange(_TEAMS)}")))
    if form < 0.75:
        return Peer(namespaces=_selector((NAME_LABEL, f"space-{random.randrange(500)}")))
    if form < 0.9:
        low = Requirement("env", Operator.NOT_IN, ("dev",))
        return Peer(
            Selector((Requirement("instance", Operator.IN, (f"instance-{random.randrange(2800)}",)), low)), Selector()
        )
    network = IPv4Network((int(IPv4Address("192.0.0.0")) + (random.randrange(1 << 14) << 8), 24))
    return Peer(block=Block(network, (next(network.subnets(3)),)))


def _policy_ports(random: Random) -> tuple[PolicyPort, ...]:
    form = random.random()
    if form < 0.05:
        return (PolicyPort(TCP, "http"),)
    if form < 0.1:
        return (PolicyPort(UDP, 30000, 32767),)
    numbers = random.sample((80, 443, 5432, 6379, 8080, 9090), random.randint(1, 3))
    return tuple(PolicyPort(TCP, number) for number in numbers)


def _selector(*wanted: tuple[str, str]) -> Selector:
    return Selector(tuple(Requirement(key, Operator.IN, (value,)) for key, value in sorted(wanted)))
