"""Which group a host is placed in: of those that it may be in the one with the fewest hosts, the first on a tie. Pure.

A host that joins or leaves changes nobody else's place. What it ignores: addresses, but for giving back those of a host
that leaves.
"""

from collections.abc import Iterable
from dataclasses import replace

from vallum.ipam.blocks import emptied
from vallum.ipam.records import Block, Change, FixedHost, Host, Network, Place, Stray
from vallum.ipam.shelves import Runs
from vallum.ipam.state import State, Tree
from vallum.ipam.topology import Spot, admits, within
from vallum.model.address import Address, span, unpack
from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError
from vallum.model.selector import Labels, matches


def join(state: State, name: str, marks: Labels = (), addresses: tuple[Address, ...] = ()) -> Change:
    """Place a new host in every network that has a group for it.

    Raises InputError when no network has one, or when the name or an address is another's.
    """
    place = f"Host {name}"
    if not name:
        raise InputError("Host name", f"is missing for {', '.join(map(str, addresses)) or 'a host'}; add one")
    if name in state.hosts:
        raise InputError(place, "is here already; remove it first, or update its labels")
    _check_addresses(state, name, addresses)
    host = Host(name=name, labels=marks, addresses=addresses)
    return Change(puts=(replace(host, places=places(state, host)),))


def join_again(state: State, name: str, marks: Labels, addresses: tuple[Address, ...]) -> Change:
    """What a node that starts says of itself: it joins, or its labels and addresses are brought up to date."""
    host = state.hosts.get(name)
    if host is None:
        return join(state, name, marks, addresses)
    _check_addresses(state, name, addresses)
    fresh = replace(_relabelled(state, host, marks), addresses=addresses or host.addresses)
    return Change() if fresh == host else Change(puts=(fresh,))


def relabel(state: State, name: str, marks: Labels) -> Change:
    """New labels, if the host keeps its place under them; networks that it may use with them are added.

    Raises InputError for a host that is not here, or labels that would take it out of a group or network.
    """
    host = known(state, name)
    fresh = _relabelled(state, host, marks)
    return Change() if fresh == host else Change(puts=(fresh,))


def leave(state: State, name: str, now: float) -> Change:
    """Remove a host: its addresses rest, its blocks become anybody's of their group, its prefix is free again."""
    host = known(state, name)
    puts: list[Block] = [emptied(block, now) for block in state.blocks_of(name)]
    strays: list[Stray] = [stray for stray in state.strays.values() if stray.host == name]
    return Change(puts=tuple(puts), gone=(*strays, host))


def known(state: State, name: str) -> Host:
    """The host of this name. Raises InputError where there is none."""
    host = state.hosts.get(name)
    if host is None:
        some = ", ".join(sorted(state.hosts)[:5]) or "none"
        more = f" and {len(state.hosts) - 5} more" if len(state.hosts) > 5 else ""
        raise InputError(f"Host {name}", f"is not here; hosts are: {some}{more}")
    return host


def places(state: State, host: Host, only: Iterable[str] | None = None) -> tuple[Place, ...]:
    """Where a host goes in each network (`only` these). Raises InputError when no network at all has a group for it."""
    found = []
    for network in state.networks.values():
        if only is None or network.name in only:
            place = find(network, state.trees[network.name], host)
            found += [place] if place else []
    if not found and only is None:
        raise InputError(f"Host {host.name}", _no_group(state, host))
    return tuple(found)


def find(network: Network, tree: Tree, host: Host, holding: tuple[Cidr, ...] = ()) -> Place | None:
    """The place of a host in a network, such that the ranges `holding` lie inside of its range; None where is none."""
    if not matches(network.nodes, dict(host.labels)):
        return None
    marks = tuple(frozenset(host.labels))
    fitting = [spot for spot in tree.leaves if _takes(spot, host, marks)]
    listed = [spot for spot in fitting if spot.group.hosts]
    for spot in sorted(listed or fitting, key=lambda spot: tree.hosts.get(spot.path, 0)):
        if not all(within(cidr, spot.cidr) for cidr in holding):
            continue
        if spot.group.host_prefix is None:
            return Place(network.name, spot.path)
        prefix = _prefix(spot, tree.prefixes.get(spot.path, Runs()), holding)
        if prefix is not None:
            return Place(network.name, spot.path, prefix)
    return None


def stays(network: Network, tree: Tree, host: Host, place: Place) -> bool:
    """Reports whether a host may be where it is."""
    spot = tree.spots.get(place.path)
    if spot is None or not spot.group.leaf or not matches(network.nodes, dict(host.labels)):
        return False
    mask = None if place.prefix is None else place.prefix.prefixlen
    if mask != spot.group.host_prefix or (place.prefix is not None and not within(place.prefix, spot.cidr)):
        return False
    return _takes(spot, host, host.labels)


def _takes(spot: Spot, host: Host, marks: Labels) -> bool:
    if spot.group.hosts:
        return any(fixed.name == host.name for fixed in spot.group.hosts)
    return admits(spot, marks)


def _prefix(spot: Spot, taken: Runs, holding: tuple[Cidr, ...]) -> Cidr | None:
    mask = spot.group.host_prefix
    assert mask is not None
    shift = spot.cidr.max_prefixlen - mask
    first, last = (int(unpack(end)) >> shift for end in span(spot.cidr))
    slots = {int(cidr.network_address) >> shift for cidr in holding} or {taken.past(first)}
    slot = slots.pop()
    if slots or slot > last or slot in taken:
        return None
    return type(spot.cidr)((slot << shift, mask))


def _relabelled(state: State, host: Host, marks: Labels) -> Host:
    fresh = replace(host, labels=marks)
    for place in host.places:
        network, tree = state.networks[place.network], state.trees[place.network]
        if not stays(network, tree, fresh, place):
            spot = tree.spots[place.path]
            asked = ",".join(f"{key}={value}" for key, value in spot.labels) or str(network.nodes)
            text = f"these labels take it out of {spot.cidr} of network {network.name}, which asks for {asked}; "
            raise InputError(f"Host {host.name} labels", f"{text}remove the host and add it again to move it")
    others = state.networks.keys() - {place.network for place in host.places}
    return replace(fresh, places=host.places + places(state, fresh, others))


def _check_addresses(state: State, name: str, addresses: tuple[Address, ...]) -> None:
    for address in addresses:
        other = state.host_at(address)
        if other is not None and other != name:
            raise InputError(f"Host {name}", f"{address} is the address of host {other}; each host needs its own")
    if not addresses:
        return
    for fixed in _fixed(state):
        if fixed.name == name and fixed.address not in addresses:
            raise InputError(f"Host {name}", f"a topology lists it with address {fixed.address}; mend one of the two")
        if fixed.name != name and fixed.address in addresses:
            text = f"a topology lists {fixed.address} as the address of {fixed.name}; mend one of the two"
            raise InputError(f"Host {name}", text)


def _fixed(state: State) -> Iterable[FixedHost]:
    return (
        fixed
        for name, topology in state.topology_of.items()
        if name == topology.networks[0]
        for spot in state.trees[name].leaves
        for fixed in spot.group.hosts
    )


def _no_group(state: State, host: Host) -> str:
    have = ",".join(f"{key}={value}" for key, value in host.labels) or "none"
    asked: list[str] = []
    full = False
    for network in state.networks.values():
        for spot in state.trees[network.name].leaves:
            full |= not spot.group.hosts and admits(spot, host.labels) and matches(network.nodes, dict(host.labels))
            wanted = ",".join(f"{key}={value}" for key, value in spot.labels)
            asked += [wanted] if wanted and not spot.group.hosts else []
    if full:
        return "every group that it may be in has given all of its host prefixes; remove a host, or add a network"
    if not asked:
        return "no group is open for hosts; add a topology whose map has a group with groups: []"
    some = "; ".join(dict.fromkeys(asked[:8]))
    return f"no group takes a host with the labels {have}; groups ask for: {some}"
