"""How networks are split along a tree of groups, and which networks and trees are legal together. Pure.

n groups of one level are padded to the next power of two p, and each slot gets a range log2(p) bits longer, in order.
The padding is written out as spare groups, which are closed to every host. What it ignores: where hosts are (`place`)
and what is in use (`blocks`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from vallum.ipam.records import PER_HOST, PER_TENANT, SPARE, Blackout, FixedHost, Group, Network, Slots, Topology
from vallum.model.address import Network as Cidr
from vallum.model.address import span
from vallum.model.errors import InputError
from vallum.model.selector import Labels

BLOCK_MASK = {4: 29, 6: 122}
"""The block mask of a network that states none, or its own prefix length if that is longer."""

_TENANT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """What an operator writes: everything but hosts and blocks."""

    networks: tuple[Network, ...] = ()
    topologies: tuple[Topology, ...] = ()
    blackouts: tuple[Blackout, ...] = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """A group as it lies in one network.

    Attributes:
        path: its slots from the root.
        group: what stands there.
        cidr: its range.
        labels: what a host must have, ancestors included.
    """

    path: Slots
    group: Group
    cidr: Cidr
    labels: Labels = ()


def default_block_mask(cidr: Cidr) -> int:
    """See `BLOCK_MASK`."""
    return max(BLOCK_MASK[cidr.version], cidr.prefixlen)


def padded(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The same level, and the levels below, with their spare groups written out."""
    whole = tuple(replace(group, groups=padded(group.groups)) if group.groups else group for group in groups)
    return whole + (SPARE,) * (slots(len(whole)) - len(whole))


def trimmed(groups: Sequence[Group]) -> tuple[Group, ...]:
    """`padded` taken back: without the spare groups at the end of each level that it would put there again."""
    count = len(groups)
    while count > len(groups) // 2 + 1 and groups[count - 1] == SPARE:
        count -= 1
    return tuple(replace(group, groups=trimmed(group.groups)) if group.groups else group for group in groups[:count])


def slots(count: int) -> int:
    """The power of two that so many groups are padded to."""
    return 1 << (count - 1).bit_length() if count else 0


def spots(cidr: Cidr, groups: Sequence[Group], above: Slots = (), labels: Labels = ()) -> Iterator[Spot]:
    """All groups of a padded tree with their ranges, parents first, in address order. Raises ValueError if too deep."""
    longer = (len(groups) - 1).bit_length()
    prefix = cidr.prefixlen + longer
    if prefix > cidr.max_prefixlen:
        raise ValueError(f"{len(groups)} groups do not fit into {cidr}")
    step = 1 << (cidr.max_prefixlen - prefix)
    first = int(cidr.network_address)
    for slot, group in enumerate(groups):
        # a host must satisfy each ancestor, so the same key twice with two values is a leaf that nobody reaches
        asked = labels + group.assignment
        spot = Spot((*above, slot), group, type(cidr)((first + slot * step, prefix)), asked)
        yield spot
        if group.groups:
            yield from spots(spot.cidr, group.groups, spot.path, asked)


def admits(spot: Spot, labels: Labels) -> bool:
    """Reports whether a host with these labels may be placed there: its group's assignment and every ancestor's."""
    return frozenset(labels).issuperset(spot.labels)


def check(layout: Layout) -> None:
    """Raise InputError for the first thing in it that cannot be meant; the trees must be padded."""
    for network in layout.networks:
        _check_network(network)
    _check_unique([network.name for network in layout.networks], "Network")
    _check_unique([topology.name for topology in layout.topologies], "Topology")
    _check_apart(layout.networks)
    named = {network.name: network for network in layout.networks}
    user: dict[str, str] = {}
    for topology in layout.topologies:
        _check_topology(topology, named, user)
    for blackout in layout.blackouts:
        check_blackout(blackout.cidr, layout.networks)


def check_blackout(cidr: Cidr, networks: Sequence[Network]) -> Network:
    """The network that it lies in. Raises InputError when it lies in none, or covers all of one."""
    place = f"Blackout {cidr}"
    for network in networks:
        if cidr == network.cidr:
            raise InputError(place, f"is all of network {network.name}; name a part of it, or remove the network")
        if within(cidr, network.cidr):
            return network
    known = ", ".join(f"{network.name} ({network.cidr})" for network in networks) or "none"
    raise InputError(place, f"lies in no network; networks are: {known}")


def within(inner: Cidr, outer: Cidr) -> bool:
    """Reports whether one range lies inside another, of the same family."""
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and int(inner.network_address) >> (inner.max_prefixlen - outer.prefixlen)
        == int(outer.network_address) >> (outer.max_prefixlen - outer.prefixlen)
    )


def _check_network(network: Network) -> None:
    place = f"Network {network.name}"
    if not network.name:
        raise InputError("Network name", "is missing; give each network a name of its own")
    low, high = network.cidr.prefixlen, network.cidr.max_prefixlen
    if not low <= network.block_mask <= high:
        raise InputError(
            f"{place} blockMask", f"{network.block_mask} is out of range; {network.cidr} allows {low} to {high}"
        )
    for tenant in network.tenants:
        if not _TENANT.fullmatch(tenant):
            raise InputError(f"{place} tenants", f"{tenant!r} is no tenant; use letters, digits, '_' and '-'")
    if network.blocks not in {PER_HOST, PER_TENANT}:
        raise InputError(f"{place} blocks", f"{network.blocks!r} is not known; write {PER_HOST} or {PER_TENANT}")
    for reserved in network.reserved:
        if not within(reserved, network.cidr):
            raise InputError(f"{place} reserved", f"{reserved} lies outside of {network.cidr}; leave it out")
    if network.gateway is not None and network.gateway not in network.cidr:
        raise InputError(f"{place} gateway", f"{network.gateway} lies outside of {network.cidr}")
    if network.spill and not network.tenants:
        raise InputError(
            f"{place} spill", "says what listed tenants may do, and it lists none; add tenants or leave it out"
        )


def _check_unique(names: list[str], kind: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{kind} {name}", "stands twice; give each a name of its own")


def _check_apart(networks: Sequence[Network]) -> None:
    ordered = sorted(networks, key=lambda network: span(network.cidr))
    for one, other in pairwise(ordered):
        if span(other.cidr)[0] <= span(one.cidr)[1]:
            text = f"{other.cidr} overlaps {one.cidr} of network {one.name}; no two networks may share an address"
            raise InputError(f"Network {other.name} cidr", text)


def _check_topology(topology: Topology, named: dict[str, Network], user: dict[str, str]) -> None:
    place = f"Topology {topology.name}"
    if not topology.networks:
        raise InputError(f"{place} networks", "is empty; name the networks that it splits")
    if not topology.groups:
        raise InputError(f"{place} map", "is empty; one group that is open for hosts is [{groups: []}]")
    for name in topology.networks:
        if name not in named:
            known = ", ".join(named) or "none"
            raise InputError(f"{place} networks", f"no network is named {name}; networks are: {known}")
        if name in user:
            raise InputError(
                f"{place} networks", f"{name} is split by topology {user[name]} already; leave it out of one"
            )
        user[name] = topology.name
    _check_groups(topology.groups, f"{place} map")
    for name in topology.networks:
        _check_split(topology, named[name])
    _check_fixed(topology)


def _check_groups(groups: Sequence[Group], place: str) -> None:
    if len(groups) != slots(len(groups)):
        raise ValueError(f"{place}: not padded")
    for slot, group in enumerate(groups):
        here = f"{place}[{slot}]"
        if group.groups and group.hosts:
            raise InputError(here, "has groups and hosts side by side; a group holds either")
        if group.host_prefix is not None and (group.groups or group.hosts):
            raise InputError(f"{here}.hostPrefix", "belongs to a group that is open for hosts: one with groups: []")
        for index, host in enumerate(group.hosts):
            if not host.name:
                raise InputError(f"{here}.groups[{index}]", f"the host {host.address} has no name; add one")
        if group.groups:
            _check_groups(group.groups, f"{here}.groups")


def _check_split(topology: Topology, network: Network) -> None:
    place = f"Topology {topology.name} map"
    try:
        found = list(spots(network.cidr, topology.groups))
    except ValueError as error:
        cure = "take a larger network or fewer groups"
        raise InputError(place, f"{error}, a group of network {network.name}; {cure}") from None
    for spot in found:
        here = place + "".join(f"[{slot}]" if not depth else f".groups[{slot}]" for depth, slot in enumerate(spot.path))
        floor = spot.group.host_prefix if spot.group.host_prefix is not None else spot.cidr.prefixlen
        if spot.group.leaf and not spot.cidr.prefixlen <= floor <= spot.cidr.max_prefixlen:
            text = f"{floor} is out of range; {spot.cidr} of network {network.name} allows {spot.cidr.prefixlen} to "
            raise InputError(f"{here}.hostPrefix", f"{text}{spot.cidr.max_prefixlen}")
        if spot.group.leaf and network.block_mask < floor:
            what = f"each host's /{floor}" if spot.group.host_prefix is not None else str(spot.cidr)
            text = f"a block of network {network.name} (/{network.block_mask}) is larger than {what} of this group; "
            raise InputError(here, f"{text}set the network's blockMask to {floor} or longer, or use fewer groups")


def _check_fixed(topology: Topology) -> None:
    seen: set[object] = set()
    for host in fixed_hosts(topology.groups):
        for thing in (host.name, host.address):
            if thing in seen:
                raise InputError(f"Topology {topology.name} map", f"the host {thing} stands twice; leave one out")
            seen.add(thing)


def fixed_hosts(groups: Sequence[Group]) -> Iterator[FixedHost]:
    """Every host that these groups or those below list."""
    for group in groups:
        yield from group.hosts
        yield from fixed_hosts(group.groups)
