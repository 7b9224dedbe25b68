"""Worlds in which one pod may exchange something else with nearly every peer: more groups than rules of their own.

They make the nftables plane fall back on shared cells and on fans to leaf chains, which small worlds rarely reach.
"""

from dataclasses import replace
from ipaddress import ip_network
from random import Random

from vallum.model.objects import SCTP, TCP, UDP, Block, Peer, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import Operator, Requirement, Selector, labels
from vallum.model.snapshot import Snapshot
from vallum.model.spaces import Spaces
from worlds import BLOCKS, PORTS, world


def crowd(random: Random) -> Snapshot:
    """Every pod of `red` is isolated both ways; each other pod and each block is admitted on ports of its own."""
    plain = world(random, policies=1)
    pods = {id_: replace(pod, labels=labels(dict(pod.labels) | {"name": id_.name})) for id_, pod in plain.pods.items()}
    rules = [PolicyRule((_named(id_.name),), _ports(random)) for id_ in sorted(pods)]
    rules += [PolicyRule((_block(network, excepts),), _ports(random)) for network, excepts in BLOCKS]
    policies = {}
    for index, rule in enumerate(rules):
        id_ = PolicyId("red", f"one{index:02}")
        way = index % 3
        policies[id_] = Policy(id_, ingress=(rule,) if way < 2 else None, egress=(rule,) if way else None)
    return replace(plain, pods=Spaces.of(pods.values()), policies=Spaces.of(policies.values()))


def _named(name: str) -> Peer:
    return Peer(Selector((Requirement("name", Operator.IN, (name,)),)), Selector())


def _block(network: str, excepts: tuple[str, ...]) -> Peer:
    return Peer(block=Block(ip_network(network), tuple(map(ip_network, excepts))))


def _ports(random: Random) -> tuple[PolicyPort, ...] | None:
    if random.random() < 0.1:
        return None
    return tuple(_port(random) for _ in range(random.randint(1, 2)))


def _port(random: Random) -> PolicyPort:
    protocol = random.choice((TCP, UDP, SCTP))
    match random.randint(0, 3):
        case 0:
            return PolicyPort(protocol)
        case 1:
            first = random.choice((1, 70, 400, 4990))
            return PolicyPort(protocol, first, first + random.choice((12, 40, 500)))
        case _:
            return PolicyPort(protocol, random.choice(PORTS))
