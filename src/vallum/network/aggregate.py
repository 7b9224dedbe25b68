"""The fewest routes by which one place finds every pod, when addresses follow a tree of groups: one a group, not one a
host, wherever everybody in the group lies in one direction.

Pure. What it ignores: links, gateways and families; whoever asks knows in which direction each host lies.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from vallum.ipam.state import State
from vallum.ipam.topology import within
from vallum.model.address import Network, collapsed

Hop = str
"""A direction: the name of a neighbour, or of a router."""


@dataclass(frozen=True, slots=True)
class Member:
    """A host: the ranges of the groups that it is in, outer ones before those inside them, and those of its pods."""

    name: str
    groups: tuple[Network, ...] = ()
    ranges: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """A range and its direction. `member`: a host that is the reason for it; `whole`: it is a group, not one host's."""

    destination: Network
    hop: Hop
    member: str
    whole: bool = False


def ways(members: Iterable[Member], towards: Callable[[str], Hop | None]) -> tuple[Way, ...]:
    """Which ranges go in which direction; the longest that an address lies in decides.

    Args:
        members: every host.
        towards: the direction of a host: its own name for a neighbour, a router's for one behind that; None for the
            host that asks.
    """
    ends = [(member, towards(member.name)) for member in members]
    shared = _shared(ends)
    outermost: dict[tuple[Network, ...], tuple[Network, ...]] = {}
    groups: dict[Network, Way] = {}
    found: list[Way] = []
    for member, hop in ends:
        if hop is None:
            continue
        if member.groups not in outermost:
            outermost[member.groups] = tuple(_outermost(group for group in member.groups if group in shared))
        whole = outermost[member.groups]
        for group in whole:
            groups.setdefault(group, Way(group, hop, member.name, whole=True))
        rest = [each for each in member.ranges if not any(within(each, group) for group in whole)]
        found += [Way(each, hop, member.name) for each in rest]
    return (*groups.values(), *found)


def members_of(state: State) -> tuple[Member, ...]:
    """Every host of the records: the groups above its places, its own prefix or else its blocks, and its strays."""
    strays: dict[str, list[Network]] = {}
    for stray in state.strays.values():
        strays.setdefault(stray.host, []).append(ip_network(stray.address))
    found = []
    for host in state.hosts.values():
        groups: list[Network] = []
        ranges: list[Network] = []
        held = state.blocks_of(host.name)
        for place in host.places:
            spots = state.trees[place.network].spots
            groups += [spots[place.path[:depth]].cidr for depth in range(1, len(place.path) + 1)]
            blocks = (each.cidr for each in held if each.network == place.network)
            ranges += [place.prefix] if place.prefix else collapsed(blocks)
        found.append(Member(host.name, tuple(groups), (*ranges, *strays.get(host.name, ()))))
    return tuple(found)


def _shared(ends: list[tuple[Member, Hop | None]]) -> frozenset[Network]:
    """The groups whose hosts all lie behind one router. A neighbour answers for its own ranges alone."""
    hops: dict[Network, set[Hop | None]] = {}
    for member, hop in ends:
        behind = None if hop == member.name else hop
        for group in member.groups:
            hops.setdefault(group, set()).add(behind)
    return frozenset(group for group, behind in hops.items() if len(behind) == 1 and None not in behind)


def _outermost(groups: Iterable[Network]) -> Iterator[Network]:
    last: list[Network] = []
    for group in groups:
        if not any(within(group, outer) for outer in last):
            last.append(group)
            yield group
