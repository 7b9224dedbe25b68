"""The worlds of `bench policy-cost`: N policies on one server pod, of which only the last admits the client.

Five shapes, because engines that are flat in one are not in another: *ports* (the 2016 measurement's), *peers*
(each policy another pod), *both*, *blocks* (each another ipBlock with an exception) and *ranges* (endPort).
Each policy admits something of its own, so that none can be merged away; the pods that they name live on a
third node that nobody built. Pure; both families by one path. What it ignores: egress, and how it is enforced.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from vallum.model.address import Address, Network
from vallum.model.objects import (
    NAME_LABEL,
    TCP,
    Block,
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

COUNTS = (0, 10, 50, 100, 200, 1_000, 10_000)
"""Numbers of policies: the blog's, and two steps on."""

NAMESPACE = "bench"
PORT = 8080
"""The server's port. Every port that another policy admits lies above `_FIRST_PORT`."""

ELSEWHERE = "elsewhere"
_FIRST_PORT = 10_000
_PEERS: dict[int, Network] = {4: ip_network("10.200.0.0/16"), 6: ip_network("fd45:0:0:1::/64")}
_BLOCKS: dict[int, tuple[Network, int]] = {4: (ip_network("172.16.0.0/12"), 26), 6: (ip_network("fd46::/48"), 64)}


@dataclass(frozen=True, slots=True)
class Ends:
    """Who is measured: the two pods with their addresses, and the nodes that exist."""

    client: Pod
    server: Pod
    nodes: tuple[Node, ...]

    @property
    def address(self) -> Address:
        """The client's first address; its family is the family measured."""
        return self.client.addresses[0]


def end(name: str, node: str, *addresses: str) -> Pod:
    """A pod of the bench namespace as the policies select it: by the label `app`."""
    return Pod(PodId(NAMESPACE, name), labels({"app": name}), node, tuple(ip_address(text) for text in addresses))


def world(shape: str, count: int, ends: Ends, *, without_last: bool = False) -> Snapshot:
    """The world of `count` policies of a shape. Without the last one nobody admits the client.

    Raises ValueError for one policy: without it the server is not isolated and the control means nothing.
    """
    if count == 1:
        raise ValueError("one policy cannot be measured: without it the server is open")
    make = SHAPES[shape]
    rules = [make(index, ends) for index in range(count - 1)] + [make(None, ends)] * bool(count)
    policies = [_policy(index, rule, ends) for index, rule in enumerate(rules)]
    others = _others(count - 1, ends) if shape in _WITH_PODS else []
    things: list[Object] = [_NAMESPACE, _elsewhere(ends), *ends.nodes, ends.client, ends.server, *others]
    things += policies[: count - without_last]
    return snapshot_of(things, f"{shape}-{count}-{without_last}")


def _ports(index: int | None, _ends: Ends) -> PolicyRule:
    return PolicyRule(ports=(PolicyPort(TCP, PORT if index is None else _FIRST_PORT + index),))


def _peers(index: int | None, ends: Ends) -> PolicyRule:
    name = _value(ends.client, "app") if index is None else _peer(index)
    return PolicyRule((Peer(pods=_selects(name)),))


def _both(index: int | None, ends: Ends) -> PolicyRule:
    return PolicyRule(_peers(index, ends).peers, _ports(index, ends).ports)


def _blocks(index: int | None, ends: Ends) -> PolicyRule:
    """A block less a quarter of it; the client's is small and its exception is a quarter without the client."""
    if index is None:
        network = _network(ends.address, ends.address.max_prefixlen - 4)
        cut = next(part for part in _quarters(network) if ends.address not in part)
    else:
        base, length = _BLOCKS[ends.address.version]
        network = _network(base.network_address + index * (1 << base.max_prefixlen - length), length)
        cut = _quarters(network)[0]
    return PolicyRule((Peer(block=Block(network, (cut,))),))


def _network(address: Address, length: int) -> Network:
    return ip_network((address, length), strict=False)


def _quarters(network: Network) -> list[Network]:
    return [*network.subnets(2)]


def _ranges(index: int | None, _ends: Ends) -> PolicyRule:
    """Three ports wide with a gap of one: 10,000 fit below 65536 and no two merge."""
    first = PORT - 1 if index is None else _FIRST_PORT + 4 * index
    return PolicyRule(ports=(PolicyPort(TCP, first, first + 2),))


SHAPES: dict[str, Callable[[int | None, Ends], PolicyRule]] = {
    "ports": _ports,
    "peers": _peers,
    "both": _both,
    "blocks": _blocks,
    "ranges": _ranges,
}
"""Shape -> the rule of the index-th policy; None is the last one, the client's."""

_WITH_PODS = ("peers", "both")
_NAMESPACE = Namespace(NAMESPACE, labels({NAME_LABEL: NAMESPACE}))


def _elsewhere(ends: Ends) -> Node:
    return Node(ELSEWHERE, pod_ranges=(_PEERS[ends.address.version],))


def _others(count: int, ends: Ends) -> list[Pod]:
    base = _PEERS[ends.address.version].network_address
    return [
        Pod(PodId(NAMESPACE, _peer(index)), labels({"app": _peer(index)}), ELSEWHERE, (base + 1 + index,))
        for index in range(count)
    ]


def _peer(index: int) -> str:
    return f"peer-{index:05}"


def _value(pod: Pod, key: str) -> str:
    return dict(pod.labels)[key]


def _selects(name: str) -> Selector:
    return Selector((Requirement("app", Operator.IN, (name,)),))


def _policy(index: int, rule: PolicyRule, ends: Ends) -> Policy:
    """Named in order, so that the last is last for a plane that sorts, too."""
    return Policy(PolicyId(NAMESPACE, f"allow-{index:05}"), _selects(_value(ends.server, "app")), ingress=(rule,))
