"""The lab's cluster as a plan: which nodes, which pod where with which addresses and links, what the router holds.

Pure and deterministic. Node i has 10.44.i.0/24 and fd44:0:0:i::/64 for pods; the nodes and the router share
172.20.0.0/24 and fd00:172:20::/64, or the next segment that no stated pod address lies in. Ignored: Services,
and addresses and pod ranges that the world states for Nodes, because the lab's nodes have their own.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from vallum.lab import outside
from vallum.model.address import Address, Network
from vallum.model.errors import InputError, InputErrors
from vallum.model.objects import Block, Node, Object, Pod, PodId, Policy
from vallum.model.selector import Labels
from vallum.model.wiring import Route

Interface = IPv4Interface | IPv6Interface

NETNS_PREFIX = "vallum-"
CORE = f"{NETNS_PREFIX}router"
BRIDGE = "vallum-br0"
"""The link of a router, as it is called there."""
UPLINK = "eth0"
"""The way up of a node, and of a router below another."""
MOST_NODES = 200
_SEGMENTS = {4: ("172.20.0", "172.31.255", "192.168.250"), 6: ("fd00:172:20:", "fd00:172:31:", "fd00:192:168:")}
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node: its namespace, its address on its router's link (one a family), and the ranges of its pods.

    `link`: that router's namespace. `labels`: of a node that no manifest states. `groups`: as in `model.Node`.
    """

    name: str
    netns: str
    addresses: tuple[Interface, ...]
    pod_ranges: tuple[Network, ...]
    link: str = CORE
    labels: Labels = ()
    groups: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class PodPlan:
    """A pod with a namespace of its own. `interface` and `host_mac` are of the node's end of its link."""

    pod: PodId
    node: str
    addresses: tuple[Address, ...]
    netns: str
    interface: str
    host_mac: str
    mac: str


@dataclass(frozen=True, slots=True)
class HostedPod:
    """A hostNetwork pod: it lives in its node's namespace and has its node's addresses."""

    pod: PodId
    node: str
    netns: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """A router: its addresses on the link that it has, and those of the world outside that it holds.

    One below another has `above` (that one's namespace), its addresses on that one's link (`uplink`), and the `group`
    whose router it is, with the group's `ranges`. `routes`: to pods and to links below it. `closed`: ranges of pods to
    which it carries nothing that comes from its link, but for single addresses that it has a route to.
    """

    netns: str
    addresses: tuple[Interface, ...]
    outside: tuple[Address, ...]
    above: str | None = None
    uplink: tuple[Interface, ...] = ()
    group: str = ""
    ranges: tuple[Network, ...] = ()
    routes: tuple[Route, ...] = ()
    closed: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole plan; nodes in order, pods by id. `router` is the core; `inner`: those below it, upper ones first."""

    nodes: tuple[NodePlan, ...]
    pods: tuple[PodPlan, ...]
    hosted: tuple[HostedPod, ...]
    router: RouterPlan
    inner: tuple[RouterPlan, ...] = ()

    @property
    def routers(self) -> tuple[RouterPlan, ...]:
        """All of them, the core first."""
        return (self.router, *self.inner)

    def router_of(self, netns: str) -> RouterPlan:
        """The router in this namespace. Raises KeyError."""
        for router in self.routers:
            if router.netns == netns:
                return router
        raise KeyError(netns)

    @property
    def groups(self) -> tuple[RouterPlan, ...]:
        """Routers of groups whose ranges tell where an address is: they know the way to it, and nodes know them."""
        return tuple(router for router in self.inner if router.ranges)

    @property
    def placed(self) -> "tuple[PodPlan | HostedPod, ...]":
        """Every pod that runs."""
        return (*self.pods, *self.hosted)

    def namespace_of(self, pod: PodId) -> str:
        """The network namespace in which this pod's processes run. Raises KeyError for one that has none."""
        for plan in self.placed:
            if plan.pod == pod:
                return plan.netns
        raise KeyError(pod)

    def node_of(self, name: str) -> NodePlan:
        """The node of this name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def plan(
    objects: tuple[Object, ...],
    nodes: int,
    extra_outside: tuple[Address, ...] = (),
    before: Topology | None = None,
) -> Topology:
    """The cluster for this world.

    Args:
        objects: the world. Its Nodes give the first nodes their names; `node1`, `node2` ... follow.
        nodes: how many there are at least.
        extra_outside: further addresses for the router, of probes; what cannot be held is left out.
        before: pods that state nothing keep the node and addresses they had in this one; nodes and routers are those.

    Raises:
        InputErrors: an unknown nodeName, an address claimed twice or impossible, too many nodes or pods.
    """
    live = living(objects)
    stated = {address: pod.id for pod in live if not pod.host_network for address in pod.addresses}
    planned, routers = _plan_nodes(objects, nodes, stated) if before is None else _same_nodes(objects, before)
    errors: list[InputError] = []
    places = place(live, planned, before, errors)
    check_stated(live, [each.network for router in routers for each in router.addresses], errors)
    if errors:
        raise InputErrors(tuple(errors))
    pods = _address_pods([pod for pod in live if not pod.host_network], places, stated, before)
    hosted = tuple(hosted_pod(pod.id, places[pod.id]) for pod in live if pod.host_network)
    ranges = [network for node in planned for network in node.pod_ranges]
    bare = Topology(planned, pods, hosted, routers[0], routers[1:])
    whole = with_outside(bare, objects, ranges, extra_outside)
    ways = [replace(each, routes=_routes(whole, each), closed=tuple(ranges)) for each in whole.routers]
    return replace(whole, router=ways[0], inner=tuple(ways[1:]))


def living(objects: tuple[Object, ...]) -> list[Pod]:
    """The pods that run, by id."""
    return sorted((each for each in objects if isinstance(each, Pod) and not each.finished), key=lambda pod: pod.id)


def with_outside(
    topology: Topology, objects: tuple[Object, ...], ranges: Iterable[Network], extra: Iterable[Address]
) -> Topology:
    """The same with what the core holds of the world outside. `ranges`: of pods, of which nothing is outside if it can
    be helped.
    """
    links = [own for router in topology.routers for own in (*router.addresses, *router.uplink)]
    own = {each.ip for each in (*links, *(one for node in topology.nodes for one in node.addresses))}
    owned = frozenset(own | {address for pod in topology.pods for address in pod.addresses})
    avoided = (*ranges, *dict.fromkeys(each.network for each in links))
    held = set(outside.choose(_blocks(objects), owned, avoided))
    held.update(address for address in extra if outside.holdable(address, owned))
    ends = tuple(sorted(held, key=lambda address: (address.version, int(address))))
    return replace(topology, router=replace(topology.router, outside=ends))


def _routes(topology: Topology, router: RouterPlan) -> tuple[Route, ...]:
    """A router's ways down: to links below it, to the ranges of nodes, and to pods whose stated address is not of their
    node's.
    """
    below = {each.netns: each.uplink for each in topology.inner if each.above == router.netns}
    ways = {each.name: each.addresses for each in topology.nodes if each.link == router.netns}
    ways |= {each.name: below[each.link] for each in topology.nodes if each.link in below}
    wanted = [(network, ways[node.name]) for node in topology.nodes if node.name in ways for network in node.pod_ranges]
    ranges = {each.name: each.pod_ranges for each in topology.nodes}
    for pod in (each for each in topology.pods if each.node in ways):
        foreign = (each for each in pod.addresses if not any(each in own for own in ranges[pod.node]))
        wanted += [(ip_network(each), ways[pod.node]) for each in foreign]
    wanted += [
        (own.network, below[each.netns]) for each in topology.inner if each.netns in below for own in each.addresses
    ]
    return tuple(Route(network, _of_family(ends, network.version), BRIDGE) for network, ends in wanted)


def _of_family(ends: Iterable[Interface], version: int) -> Address:
    return next(each.ip for each in ends if each.version == version)


def complete(objects: tuple[Object, ...], topology: Topology) -> tuple[Object, ...]:
    """The world as the agents should see it: Nodes and Pods with what the lab assigned to them."""
    declared = {each.name: each for each in objects if isinstance(each, Node)}
    nodes = [
        replace(
            declared.get(node.name, Node(node.name, node.labels)),
            addresses=tuple(each.ip for each in node.addresses),
            pod_ranges=node.pod_ranges,
            groups=node.groups,
            routers=tuple(each.ip for each in topology.router_of(node.link).addresses) if topology.groups else (),
        )
        for node in topology.nodes
    ]
    plans = {each.pod: each for each in topology.placed}
    rest = (
        replace(each, node=plans[each.id].node, addresses=plans[each.id].addresses)
        if isinstance(each, Pod) and each.id in plans
        else each
        for each in objects
        if not isinstance(each, Node)
    )
    return (*nodes, *rest)


def _plan_nodes(
    objects: tuple[Object, ...], count: int, stated: Iterable[Address]
) -> tuple[tuple[NodePlan, ...], tuple[RouterPlan, ...]]:
    stems = (_segment(4, stated), _segment(6, stated))
    router = RouterPlan(CORE, _interfaces(stems, "1"), ())
    return tuple(_plan_node(name, i, stems) for i, name in enumerate(node_names(objects, count), 1)), (router,)


def node_names(objects: tuple[Object, ...], count: int) -> list[str]:
    """Those that the world states, then `node1`, `node2` ... until there are so many. Raises InputError: too many."""
    names = sorted(each.name for each in objects if isinstance(each, Node))
    free = (name for name in (f"node{i}" for i in range(1, MOST_NODES + 1)) if name not in names)
    while len(names) < min(count, MOST_NODES):
        names.append(next(free))
    if not 1 <= max(len(names), count) <= MOST_NODES:
        raise InputError("nodes", f"{max(len(names), count)} nodes; a lab has 1 to {MOST_NODES}")
    return names


def _same_nodes(objects: tuple[Object, ...], before: Topology) -> tuple[tuple[NodePlan, ...], tuple[RouterPlan, ...]]:
    check_nodes(objects, before)
    return before.nodes, before.routers


def check_nodes(objects: tuple[Object, ...], before: Topology) -> None:
    """Raise InputError where the world has a node that the running lab has not: its nodes stay as they are."""
    names = [node.name for node in before.nodes]
    for each in objects:
        if isinstance(each, Node) and each.name not in names:
            problem = f"no such node in the running lab, which has {', '.join(names)}; start a lab anew to add it"
            raise InputError(f"Node {each.name}", problem)


def _plan_node(name: str, i: int, stems: tuple[str, str]) -> NodePlan:
    return NodePlan(name, f"{NETNS_PREFIX}{name}", _interfaces(stems, str(10 + i)), ranges_of(i))


def ranges_of(number: int) -> tuple[Network, ...]:
    """The ranges of the pods of a node, counted from 1."""
    return ip_network(f"10.44.{number}.0/24"), ip_network(f"fd44:0:0:{number}::/64")


def _interfaces(stems: tuple[str, str], last: str) -> tuple[Interface, ...]:
    return ip_interface(f"{stems[0]}.{last}/24"), ip_interface(f"{stems[1]}:{last}/64")


def _segment(version: int, stated: Iterable[Address]) -> str:
    """The first that no stated address lies in."""
    for stem in _SEGMENTS[version]:
        network = ip_network(f"{stem}.0/24" if version == 4 else f"{stem}:/64")
        if not any(address in network for address in stated):
            return stem
    raise InputError("pods", f"their IPv{version} addresses lie in every segment that the lab could use for itself")


def place(
    live: list[Pod], nodes: tuple[NodePlan, ...], before: Topology | None, errors: list[InputError]
) -> dict[PodId, NodePlan]:
    """Node of each pod: as stated, else as before, else round robin."""
    by_name = {node.name: node for node in nodes}
    had = {each.pod: each.node for each in before.placed} if before else {}
    places, turn = {}, 0
    for pod in live:
        name = pod.node if pod.node is not None else had.get(pod.id)
        if name is None:
            name, turn = nodes[turn % len(nodes)].name, turn + 1
        if name in by_name:
            places[pod.id] = by_name[name]
        else:
            known = ", ".join(by_name)
            errors.append(InputError(f"Pod {pod.id} spec.nodeName", f"no node {name}; there are {known}"))
    return places


def check_stated(live: list[Pod], segments: Collection[Network], errors: list[InputError]) -> None:
    """Note addresses that no pod can have, that are the lab's own, or that two pods state."""
    owner: dict[Address, PodId] = {}
    for pod in live:
        for address in () if pod.host_network else pod.addresses:
            where = f"Pod {pod.id} status.podIPs"
            if not outside.holdable(address, frozenset()):
                errors.append(InputError(where, f"{address} is not an address that a pod can have"))
            elif any(address in segment for segment in segments):
                errors.append(InputError(where, f"{address} lies among the addresses of the lab's nodes"))
            if owner.setdefault(address, pod.id) != pod.id:
                errors.append(InputError(where, f"{address} is also that of pod {owner[address]}; give one another"))


def _address_pods(
    wired: list[Pod], places: dict[PodId, NodePlan], stated: Iterable[Address], before: Topology | None
) -> tuple[PodPlan, ...]:
    taken = set(stated)
    had = {each.pod: each for each in before.pods} if before else {}
    kept = {}
    for pod in wired:
        old = had.get(pod.id)
        same = old is not None and old.node == places[pod.id].name
        if not pod.addresses and old is not None and same and taken.isdisjoint(old.addresses):
            kept[pod.id] = old.addresses
            taken.update(old.addresses)
    found = []
    for pod in wired:
        node = places[pod.id]
        addresses = pod.addresses or kept.get(pod.id) or tuple(_next(node, one, taken) for one in node.pod_ranges)
        found.append(pod_plan(pod.id, node.name, addresses))
    return tuple(found)


def _next(node: NodePlan, network: Network, taken: set[Address]) -> Address:
    # .0 is the network's, .1 is by custom a bridge's; a /64 is searched no further than a /24
    for offset in range(2, 255):
        address = network.network_address + offset
        if address not in taken:
            taken.add(address)
            return address
    raise InputError(f"node {node.name}", f"its pod range {network} has no free address; use more nodes")


def pod_plan(pod: PodId, node: str, addresses: tuple[Address, ...]) -> PodPlan:
    """A pod with the names and MACs that follow from its own name."""
    digest = blake2b(str(pod).encode(), digest_size=6).hexdigest()
    tail = ":".join(digest[at : at + 2] for at in range(0, 10, 2))
    # a namespace has no dot in its name, so the first one parts it from the pod's
    netns = f"{NETNS_PREFIX}{pod.namespace}.{pod.name}"
    if len(netns) > _LONGEST_NAME:
        netns = f"{netns[: _LONGEST_NAME - len(digest)]}-{digest}"
    return PodPlan(pod, node, addresses, netns, f"vl{digest}", f"02:{tail}", f"06:{tail}")


def hosted_pod(pod: PodId, node: NodePlan) -> HostedPod:
    """A hostNetwork pod on its node."""
    return HostedPod(pod, node.name, node.netns, tuple(each.ip for each in node.addresses))


def _blocks(objects: tuple[Object, ...]) -> list[Block]:
    policies = (each for each in objects if isinstance(each, Policy))
    rules = (rule for policy in policies for rule in ((policy.ingress or ()) + (policy.egress or ())))
    return [peer.block for rule in rules for peer in rule.peers or () if peer.block is not None]
