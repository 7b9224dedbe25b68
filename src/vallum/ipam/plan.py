"""A new layout over a living one: what stays, what moves, and what is refused. Pure; nothing happens on a refusal.

Groups keep their slots: one that the new tree names again stays where it is, a new one takes a spare slot of its level,
and one that went leaves a spare behind. No prefix with a host in it ever moves. A host that must leave its group moves
only if no address of it is in use there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vallum.ipam.place import find, stays
from vallum.ipam.records import SPARE, Block, Change, Group, Host, Network, Place, Record, Topology
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, check_blackout, fixed_hosts, padded, within
from vallum.model.address import Address, Packed, pack, span, unpack
from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError, InputErrors


@dataclass(frozen=True, slots=True)
class Move:
    """A host that is in another range of a network than before; None: not in that network."""

    host: str
    network: str
    before: Cidr | None
    after: Cidr | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new layout would do.

    Attributes:
        change: the whole of it, to be taken at once.
        moves: hosts that get another range; none of their addresses there is in use.
        hosts_stay: how many hosts keep every range they have.
        addresses_stay: how many addresses are in use; each keeps its host and its group.
    """

    change: Change
    moves: tuple[Move, ...]
    hosts_stay: int
    addresses_stay: int


def plan(state: State, layout: Layout) -> Plan:
    """Lay the networks and topologies anew; what the layout leaves out is removed.

    Raises InputError for a layout that cannot be meant (`topology.check`), or that strands addresses: all are named.
    """
    check(layout)
    merged = replace(layout, topologies=tuple(_merged(state, topology) for topology in layout.topologies))
    check(merged)  # deeper by the slots that are kept
    target = State((*merged.networks, *merged.topologies, *merged.blackouts))
    problems = [*_removed(state, target), *_settle(state, target, list(_hosts(state, merged)))]
    if problems:
        raise InputErrors(tuple(problems)) if len(problems) > 1 else problems[0]
    change = _change(state, merged, target)
    moves = tuple(move for host in target.hosts.values() for move in _moves(state, target, host))
    stay = len(state.hosts.keys() - {move.host for move in moves})
    return Plan(change, moves, stay, sum(len(block.used) for block in state.blocks.values()))


# Trees


def _merged(state: State, new: Topology) -> Topology:
    old = state.topologies.get(new.name) or next(
        (state.topology_of[name] for name in new.networks if name in state.topology_of), None
    )
    if old is None:
        return new
    busy = {place.path for host in state.hosts.values() for place in host.places if place.network in old.networks}
    kept = _slots(old.groups, new.groups, busy, (), new.name)
    return replace(new, groups=kept)


def _slots(
    old: Sequence[Group], new: Sequence[Group], busy: set[tuple[int, ...]], at: tuple[int, ...], name: str
) -> tuple[Group, ...]:
    """The new level with its groups in the slots of the old one; as it is written if nobody is placed below."""
    if not old or not any(path[: len(at)] == at for path in busy):
        return padded(new)
    fresh = [group for group in new if not group.spare]
    matched = _matched(old, fresh)
    level = [SPARE] * len(old)
    spare = [slot for slot, group in enumerate(old) if group.spare]
    spare += [slot for slot, group in enumerate(old) if not group.spare and slot not in matched.values()]
    for index, slot in matched.items():
        group = fresh[index]
        below = _slots(old[slot].groups, group.groups, busy, (*at, slot), name) if group.groups else ()
        level[slot] = replace(group, groups=below)
    for index, group in enumerate(fresh):
        if index in matched:
            continue
        if not spare:
            raise InputError(f"Topology {name} map", _no_spare(group, at, len(old)))
        level[spare.pop(0)] = replace(group, groups=padded(group.groups))
    return tuple(level)


def _matched(old: Sequence[Group], new: Sequence[Group]) -> dict[int, int]:
    """Index of each new group that was there before, with its slot: by name, else by labels, else by position."""
    found: dict[int, int] = {}
    tests: tuple[Callable[[Group], object], ...] = (
        lambda group: group.name,
        lambda group: group.assignment,
        lambda group: not group.name and not group.assignment,
    )
    for test in tests:
        for index, group in enumerate(new):
            free = (slot for slot, each in enumerate(old) if not each.spare and slot not in found.values())
            same = next((slot for slot in free if test(group) and test(old[slot]) == test(group)), None)
            if index not in found and same is not None:
                found[index] = same
    return found


def _no_spare(group: Group, at: tuple[int, ...], count: int) -> str:
    where = "the map" if not at else "its parent " + "".join(f"[{slot}]" for slot in at)
    text = f"the new group {group.label() or 'without a name'} needs a slot, and all {count} of {where} are taken; "
    return f"{text}a split of more would move prefixes with hosts in them: put the new group into another network"


# Hosts


def _hosts(state: State, layout: Layout) -> Iterator[Host]:
    yield from state.hosts.values()
    addresses: dict[Address, str] = {}
    for topology in layout.topologies:
        for fixed in fixed_hosts(topology.groups):
            other = state.host_at(fixed.address) or addresses.setdefault(fixed.address, fixed.name)
            known = state.hosts.get(fixed.name)
            if other != fixed.name or (known and known.addresses and fixed.address not in known.addresses):
                text = f"{fixed.address} is not that of the host {fixed.name} that is here; mend one of the two"
                raise InputError(f"Topology {topology.name} map", text)
            if known is None and addresses[fixed.address] == fixed.name:
                yield Host(name=fixed.name, addresses=(fixed.address,))


def _settle(state: State, target: State, hosts: list[Host]) -> Iterator[InputError]:
    """Put the hosts into the target: first all that stay, then those that hold addresses, then the others."""
    for host in hosts:
        target.apply(Change(puts=(replace(host, places=_kept(state, target, host)),)), 0)
    for host in sorted(hosts, key=lambda host: not any(block.used for block in state.blocks_of(host.name))):
        places = list(target.hosts[host.name].places)
        for network in target.networks.values():
            if any(place.network == network.name for place in places):
                continue
            holding = _holding(state, host, network)
            found = find(network, target.trees[network.name], host, holding)
            if found is None and holding:
                yield _stranded(state, host, network, holding)
            places += [found] if found else []
        target.apply(Change(puts=(replace(host, places=tuple(places)),)), 0)


def _kept(state: State, target: State, host: Host) -> tuple[Place, ...]:
    found = []
    for place in host.places:
        network = target.networks.get(place.network)
        if network is None or not stays(network, target.trees[network.name], host, place):
            continue
        if all(within(cidr, target.region(place)) for cidr in _holding(state, host, network)):
            found.append(place)
    return tuple(found)


def _holding(state: State, host: Host, network: Network) -> tuple[Cidr, ...]:
    """The ranges of a network that a host must keep: its blocks with something in use."""
    return tuple(block.cidr for block in state.blocks_of(host.name) if block.network == network.name and block.used)


def _stranded(state: State, host: Host, network: Network, holding: tuple[Cidr, ...]) -> InputError:
    used = [str(unpack(at)) for cidr in holding if (block := state.blocks.get(span(cidr)[0])) for at in _in_use(block)]
    some = ", ".join(used[:3]) + (f" and {len(used) - 3} more" if len(used) > 3 else "")
    text = f"{some} in use there would be stranded: no group of the new map takes the host and holds them; "
    return InputError(f"Host {host.name} network {network.name}", f"{text}keep its group, or drain the host first")


def _in_use(block: Block) -> Iterator[Packed]:
    return (Packed(block.first + offset) for offset in block.used)


def _removed(state: State, target: State) -> Iterator[InputError]:
    """Networks that cannot go, or be cut otherwise, while an address of theirs is in use."""
    for network in state.networks.values():
        new = target.networks.get(network.name)
        if new is not None and (new.cidr, new.block_mask) == (network.cidr, network.block_mask):
            continue
        used = sum(len(block.used) for block in state.blocks.values() if block.network == network.name)
        if used:
            what = "is left out" if new is None else f"becomes {new.cidr} with blocks of /{new.block_mask}"
            text = f"{what}, and {used} of its addresses are in use; drain it first, or add a network beside it"
            yield InputError(f"Network {network.name}", text)


# The change


def _change(state: State, layout: Layout, target: State) -> Change:
    puts: list[Record] = []
    gone: list[Record] = []
    for old, new in (
        (state.networks, target.networks),
        (state.topologies, target.topologies),
        (state.hosts, target.hosts),
    ):
        _differ(old, new, puts, gone)
    gone += [each for each in state.blackouts.values() if not _keeps(each.cidr, layout)]
    puts += [each for each in layout.blackouts if not any(within(each.cidr, old) for old in state.blackouts)]
    gone += [block for block in state.blocks.values() if not _fits(block, target)]
    gone += [stray for stray in state.strays.values() if target.network_at(pack(stray.address)) is None]
    return Change(tuple(puts), tuple(gone))


def _differ(old: Mapping[str, Record], new: Mapping[str, Record], puts: list[Record], gone: list[Record]) -> None:
    gone += [record for name, record in old.items() if name not in new]
    for name, record in new.items():
        before = old.get(name)
        fresh = replace(record, revision=before.revision if before else 0)
        puts += [fresh] if fresh != before else []


def _keeps(cidr: Cidr, layout: Layout) -> bool:
    if any(cidr == blackout.cidr for blackout in layout.blackouts):
        return True
    try:
        check_blackout(cidr, layout.networks)
    except InputError:
        return False
    return not any(within(cidr, blackout.cidr) for blackout in layout.blackouts)


def _fits(block: Block, target: State) -> bool:
    """Reports whether an empty block is still one of a group that hands it out; those in use were seen to before."""
    network = target.networks.get(block.network)
    if network is None or network.block_mask != block.mask or not within(block.cidr, network.cidr):
        return False
    return bool(block.used) or target.trees[network.name].leaf_at(block.first) is not None


def _moves(state: State, target: State, host: Host) -> Iterator[Move]:
    old = state.hosts.get(host.name)
    before = {place.network: state.region(place) for place in old.places} if old else {}
    after = {place.network: target.region(place) for place in host.places}
    for name in dict.fromkeys((*before, *after)):
        if old is not None and before.get(name) != after.get(name):
            yield Move(host.name, name, before.get(name), after.get(name))
