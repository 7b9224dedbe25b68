"""The lab as a data centre: the links and routers between nodes whose addresses follow a tree of groups.

Each group that has nodes gets a router with a link of its own: on it are the routers of the groups inside, or the
nodes. All of it hangs on the core. Routers hold one route a group, and what lies in their group and is nowhere in it
is unreachable instead of going round. Pure. What it ignores: who gets which address (`housing`).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from vallum.ipam.records import Slots
from vallum.ipam.state import State
from vallum.ipam.topology import Spot
from vallum.lab.topology import (
    BRIDGE,
    CORE,
    NETNS_PREFIX,
    UPLINK,
    Interface,
    NodePlan,
    RouterPlan,
    Topology,
)
from vallum.model.address import Address, Network
from vallum.model.errors import InputError
from vallum.model.wiring import Route
from vallum.network.aggregate import Member, ways

_BASES = {4: ("172.20", "172.31", "192.168", "10.255"), 6: ("fd00:172:20", "fd00:172:31", "fd00:192:168")}
_MOST_LINKS = 255
_UP = ""
"""The direction of everything that is not below a router."""

_Key = tuple[str, Slots]
"""A group: the name of its topology, and its place there."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """Nodes in order; routers, those above before those below, the core first."""

    nodes: tuple[NodePlan, ...]
    routers: tuple[RouterPlan, ...]


def build(state: State, names: Iterable[str], stated: Iterable[Address]) -> Fabric:
    """Links, routers and nodes for these hosts; ranges of pods and routes are for `routed`.

    Raises InputError where there are more groups with nodes than a lab has links, or no addresses are left for these.
    """
    homes = {name: _home(state, name) for name in names}
    keys = sorted({(topology, path[:depth]) for topology, path in homes.values() for depth in range(1, len(path) + 1)})
    if len(keys) >= _MOST_LINKS:
        raise InputError("topology", f"{len(keys)} groups have nodes; a lab has links for {_MOST_LINKS - 1}")
    bases = tuple(_base(version, state, tuple(stated)) for version in (4, 6))
    titles = {key: _title(state, key) for key in keys}
    members: dict[str, int] = {}  # of each link

    def uplink(netns: str, number: int) -> tuple[Interface, ...]:
        members[netns] = members.get(netns, 0) + 1
        return _interfaces(bases, number, 10 + members[netns])

    core = RouterPlan(CORE, _interfaces(bases, 0, 1), ())
    routers, numbers = [core], {CORE: 0}
    for number, key in enumerate(keys, 1):
        above = _netns(titles, (key[0], key[1][:-1]))
        netns = _netns(titles, key)
        numbers[netns] = number
        title = "/".join(_titles(titles, key))
        ranges = tuple(spot.cidr for spot in _spots(state, key))
        own = _interfaces(bases, number, 1)
        routers.append(RouterPlan(netns, own, (), above, uplink(above, numbers[above]), title, ranges))
    nodes = []
    for name, key in homes.items():
        link = _netns(titles, key)
        labels = state.hosts[name].labels
        nodes.append(NodePlan(name, f"{NETNS_PREFIX}{name}", uplink(link, numbers[link]), (), link, labels))
    return Fabric(tuple(nodes), tuple(routers))


def routed(topology: Topology, members: tuple[Member, ...]) -> Topology:
    """The same with the ranges of each node, and on each router the fewest routes to all that is below it."""
    known = {member.name: member for member in members}
    nodes = tuple(
        replace(node, pod_ranges=known[node.name].ranges, groups=known[node.name].groups) for node in topology.nodes
    )
    whole = replace(topology, nodes=nodes)
    routers = [replace(router, routes=_routes(whole, router, members)) for router in whole.routers]
    return replace(whole, router=routers[0], inner=tuple(routers[1:]))


def _routes(topology: Topology, router: RouterPlan, members: tuple[Member, ...]) -> tuple[Route, ...]:
    """By the names of the tree's ends: towards a host goes the neighbour on this router's link that is above it."""
    above = {node.netns: node.link for node in topology.nodes} | {each.netns: each.above for each in topology.routers}
    uplinks = {each.netns: each.addresses for each in topology.nodes}
    uplinks |= {each.netns: each.uplink for each in topology.inner}
    names = {node.netns: node.name for node in topology.nodes}

    def towards(netns: str) -> str:
        at = netns
        while (higher := above.get(at)) is not None:
            if higher == router.netns:
                return names.get(at, at)
            at = higher
        return _UP

    gateways = {names.get(netns, netns): addresses for netns, addresses in uplinks.items()}
    own = _around(topology, router)
    inside = [replace(member, groups=_without(member.groups, own)) for member in members]
    pods = ways(inside, lambda name: towards(topology.node_of(name).netns))
    links = ((own.network, towards(each.netns)) for each in topology.inner for own in each.addresses)
    wanted = [*((way.destination, way.hop) for way in pods), *links]
    down = [Route(network, _of_family(gateways[hop], network), BRIDGE) for network, hop in wanted if hop != _UP]
    return (*down, *_upward(topology, router))


def _around(topology: Topology, router: RouterPlan) -> Counter[Network]:
    """The ranges of a router's group and of those around it: it stands inside, so none of them is one direction."""
    found = Counter(router.ranges)
    while router.above is not None:
        router = topology.router_of(router.above)
        found.update(router.ranges)
    return found


def _without(groups: tuple[Network, ...], own: Counter[Network]) -> tuple[Network, ...]:
    """The groups inside these. A group that is alone in another has the same range, so each stands for one."""
    left = own.copy()
    found = []
    for group in groups:
        if left[group]:
            left[group] -= 1
        else:
            found.append(group)
    return tuple(found)


def _upward(topology: Topology, router: RouterPlan) -> list[Route]:
    """Ends outside that lie among the group's own addresses are at the core all the same."""
    if router.above is None:
        return []
    core = topology.router_of(router.above)
    ends = (end for end in topology.router.outside if any(end in network for network in router.ranges))
    return [Route(ip_network(end), _of_family(core.addresses, ip_network(end)), UPLINK) for end in ends]


def _of_family(own: Iterable[Interface], network: Network) -> Address:
    return next(each.ip for each in own if each.version == network.version)


def _home(state: State, name: str) -> _Key:
    """Where a host stands: its place in the first network that it is in."""
    first = state.hosts[name].places[0]
    return state.topology_of[first.network].name, first.path


def _spots(state: State, key: _Key) -> list[Spot]:
    """The group in each network that its topology splits."""
    topology, path = key
    return [state.trees[name].spots[path] for name in state.topologies[topology].networks]


def _title(state: State, key: _Key) -> str:
    """A word for a group that fits into the name of a namespace: its own, else its labels' values, else its slot."""

    def word(at: Slots) -> str:
        group = _spots(state, (key[0], at))[0].group
        return _plain(group.name or "-".join(value for _, value in group.assignment))

    slot = key[1][-1]
    own = word(key[1])
    level = [path for path in state.trees[state.topologies[key[0]].networks[0]].spots if path[:-1] == key[1][:-1]]
    alone = sum(word(path) == own for path in level) == 1
    return own if own and alone else f"{own}{slot}"


def _titles(titles: dict[_Key, str], key: _Key) -> tuple[str, ...]:
    topology, path = key
    several = len({each for each, _ in titles}) > 1
    return (
        *((_plain(topology),) if several else ()),
        *(titles[topology, path[:depth]] for depth in range(1, len(path) + 1)),
    )


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:24]


def _netns(titles: dict[_Key, str], key: _Key) -> str:
    """A colon is in no name of a node, a namespace or a pod."""
    return ":".join((CORE, *_titles(titles, key))) if key[1] else CORE


def _base(version: int, state: State, stated: tuple[Address, ...]) -> str:
    """The first that neither a network nor a stated address lies in."""
    for base in _BASES[version]:
        whole = ip_network(f"{base}.0.0/16" if version == 4 else f"{base}::/48")
        apart = not any(each.cidr.version == version and each.cidr.overlaps(whole) for each in state.networks.values())
        if apart and not any(address in whole for address in stated):
            return base
    raise InputError("topology", f"its IPv{version} networks lie in every range that the lab could use for its links")


def _interfaces(bases: tuple[str, ...], link: int, end: int) -> tuple[Interface, ...]:
    """As decimal digits in both families, so that the two are told to belong together."""
    return ip_interface(f"{bases[0]}.{link}.{end}/24"), ip_interface(f"{bases[1]}:{link}::{end}/64")
