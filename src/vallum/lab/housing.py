"""Which node of the data centre a pod is on, and which address it gets there, by the records of an ipam store.

Pure: a State in; the Change that it takes and the cluster's plan out. An address that one world frees may be another
pod's in the next at once: no link of a pod goes up before every agent enforces the new world, so nothing has to rest.
What it ignores: links and routers (`fabric`).
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle

from vallum.ipam import Request
from vallum.ipam import place as hosts
from vallum.ipam.blocks import allocate, free
from vallum.ipam.choose import REST
from vallum.ipam.plan import plan as lay
from vallum.ipam.records import Change, Record, key_of
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, Spot, fixed_hosts
from vallum.lab import topology as plans
from vallum.lab.fabric import build, routed
from vallum.lab.topology import MOST_NODES, NodePlan, PodPlan, Topology
from vallum.model.address import Address, pack, unpack
from vallum.model.errors import InputError, InputErrors
from vallum.model.objects import Namespace, Node, Object, Pod, PodId
from vallum.model.selector import Labels
from vallum.network.aggregate import members_of


def settle(state: State, layout: Layout, objects: tuple[Object, ...], count: int | None) -> tuple[Change, Topology]:
    """Lay the networks, place the nodes in their groups, and build the links between them.

    Args:
        state: an empty one.
        layout: networks and topologies.
        objects: the world; its Nodes are placed by their labels.
        count: how many nodes there are at least; those that the world does not state are labelled for one open group
            after the other. None: as many as there are such groups, where the world states no Nodes.
    Returns the change and the nodes and routers, with no pod yet.

    Raises:
        InputError: a node fits no group, or there are too many.
    """
    draft = _Draft(state)
    draft.take(lay(draft.state, layout).change)
    stated = {each.name: each.labels for each in objects if isinstance(each, Node)}
    leaves = _leaves(draft.state)
    names = _names(
        objects, count, leaves, [host.name for each in layout.topologies for host in fixed_hosts(each.groups)]
    )
    fitting = cycle(leaves)
    for name in names:
        marks = stated[name] if name in stated else next(fitting).labels if leaves else ()
        draft.take(hosts.join_again(draft.state, name, marks, ()))
    addresses = [address for pod in plans.living(objects) for address in pod.addresses]
    fabric = build(draft.state, names, addresses)
    return draft.change(), Topology(fabric.nodes, (), (), fabric.routers[0], fabric.routers[1:])


def house(
    state: State,
    objects: tuple[Object, ...],
    standing: Topology,
    extra_outside: tuple[Address, ...],
    now: float,
) -> tuple[Change, Topology]:
    """The plan for this world on the nodes that stand. Pods that state nothing stay where they were.

    `now`: seconds of the store's clock. Raises InputErrors: unknown nodes, and pods whose addresses no node can give;
    then nothing changes.
    """
    plans.check_nodes(objects, standing)
    draft, errors = _Draft(state), list[InputError]()
    for node in objects:
        if isinstance(node, Node):
            draft.take(hosts.join_again(draft.state, node.name, node.labels, ()))
    live = plans.living(objects)
    links = [own.network for router in standing.routers for own in router.addresses]
    plans.check_stated(live, links, errors)
    live = [replace(pod, node=_home(draft.state, pod, standing)) for pod in live]
    places = plans.place(live, standing.nodes, standing, errors)
    if errors:
        raise InputErrors(tuple(errors))
    pods = _pods(draft, [pod for pod in live if not pod.host_network], places, _spaces(objects), now)
    hosted = tuple(plans.hosted_pod(pod.id, places[pod.id]) for pod in live if pod.host_network)
    whole = replace(standing, pods=pods, hosted=hosted)
    ranges = [network.cidr for network in state.networks.values()]
    whole = plans.with_outside(whole, objects, ranges, extra_outside)
    nodes = {node.name for node in standing.nodes}
    return draft.change(), routed(whole, tuple(each for each in members_of(draft.state) if each.name in nodes))


def _leaves(state: State) -> list[Spot]:
    """The groups for nodes that the lab makes: open ones, of the first network of each topology."""
    firsts = [topology.networks[0] for topology in state.topologies.values()]
    spots = [spot for name in state.networks if name in firsts for spot in state.trees[name].leaves]
    return [spot for spot in spots if not spot.group.hosts]


def _names(objects: tuple[Object, ...], count: int | None, leaves: list[Spot], fixed: list[str]) -> list[str]:
    """Those of the nodes. Where no group is open, the hosts that the topology lists are what the lab makes."""
    stated = sorted(each.name for each in objects if isinstance(each, Node))
    if leaves:
        default = 1 if stated else min(len(leaves), MOST_NODES)
        return plans.node_names(objects, default if count is None else count)
    more = [name for name in fixed if name not in stated]
    if count is not None and count > len(stated) + len(more):
        raise InputError("topology", f"lists {len(fixed)} hosts and no open group, and {count} nodes are asked for")
    return [*stated, *more][: None if count is None else max(count, len(stated))]


def _spaces(objects: tuple[Object, ...]) -> dict[str, Labels]:
    return {each.name: each.labels for each in objects if isinstance(each, Namespace)}


def _home(state: State, pod: Pod, standing: Topology) -> str | None:
    """The node of a pod that states addresses but no node: the owner of their block, else who could have such a one."""
    if pod.node is not None or pod.host_network or not pod.addresses:
        return pod.node
    block = state.block_at(pack(pod.addresses[0]))
    if block is not None and block.host is not None:
        return block.host
    for node in standing.nodes:
        if any(pod.addresses[0] in state.region(place) for place in state.hosts[node.name].places):
            return node.name
    return None


def _pods(
    draft: "_Draft", live: list[Pod], places: dict[PodId, NodePlan], spaces: dict[str, Labels], now: float
) -> tuple[PodPlan, ...]:
    """Free what nobody has any more, then give: first to those that ask for an address."""
    wanted = {(places[pod.id].name, str(pod.id)): pod for pod in live}
    for host, owner, held in list(draft.state.holding()):
        pod = wanted.get((host, owner))
        if pod is None or not {*pod.addresses} <= {*map(unpack, held)}:
            draft.take(free(draft.state, host, owner, now))
    errors, found = list[InputError](), dict[str, tuple[Address, ...]]()
    for (host, owner), pod in sorted(wanted.items(), key=lambda each: not each[1].addresses):
        if held := draft.state.held(host, owner):
            found[owner] = _in_order(draft.state, map(unpack, held))
            continue
        request = Request(owner, pod.id, pod.addresses, spaces.get(pod.id.namespace, ()))
        try:
            change, lease = allocate(draft.state, host, request, now + REST)
        except InputError as error:
            errors.append(_refused(pod, host, error))
            continue
        draft.take(change)
        found[owner] = _in_order(draft.state, lease.addresses)
    if errors:
        raise InputErrors(tuple(errors))
    return tuple(plans.pod_plan(pod.id, places[pod.id].name, found[str(pod.id)]) for pod in live)


def _in_order(state: State, addresses: Iterable[Address]) -> tuple[Address, ...]:
    """The family of the network that is tried first comes first, however they are kept."""
    families = list(dict.fromkeys(network.cidr.version for network in state.networks.values()))
    return tuple(sorted(addresses, key=lambda address: families.index(address.version)))


def _refused(pod: Pod, host: str, error: InputError) -> InputError:
    if error.place == "ips":
        return InputError(f"Pod {pod.id} status.podIPs on {host}", f"{error.problem}; or leave podIPs out")
    return InputError(f"Pod {pod.id} on {host}", str(error))


class _Draft:
    """A copy of a State on which one decision follows from the other, and what all of them come to."""

    def __init__(self, state: State) -> None:
        self._before = state
        self.state = State(state.records(), state.revision)

    def take(self, change: Change) -> None:
        """See `State.apply`."""
        revision = self.state.revision + 1
        self.state.apply(change.stamped(revision), revision)

    def change(self) -> Change:
        """From the State as it was to this one."""
        before = self._before
        puts = tuple(_over(before.find(key_of(each)), each) for each in self.state.records() if self._is_new(each))
        gone = tuple(each for each in before.records() if self.state.find(key_of(each)) is None)
        return Change(puts, gone)

    def _is_new(self, record: Record) -> bool:
        return record.revision > self._before.revision


def _over(old: Record | None, new: Record) -> Record:
    """With the revision that it replaces."""
    return replace(new, revision=0 if old is None else old.revision)
