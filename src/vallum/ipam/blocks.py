"""Which address a pod gets and what becomes of it when it is freed. Pure: a State in, a Change out.

Of each family the first network that may serve the pod gives one: from the host's own blocks, else from an emptied
block of its group, else from the next new one. An address that rests is given only when no network has another. What
it ignores: where the State is kept, and whether the host really uses what it holds (`adopt` is told).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vallum.ipam import ExhaustedError, Lease, Owner, Request
from vallum.ipam.choose import rests
from vallum.ipam.exhausted import exhausted, no_network
from vallum.ipam.records import NOTHING, PER_TENANT, Block, Change, Host, Network, Place, Stray, key_of
from vallum.ipam.shelves import Room
from vallum.ipam.state import State, block_start
from vallum.ipam.topology import within
from vallum.model.address import Address, Packed, pack, unpack
from vallum.model.errors import InputError
from vallum.model.selector import matches

FREED_KEPT = 4096
"""Freed addresses that a block remembers beside those that rest; the longest free then count as never used."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """A network as one request may use it."""

    network: Network
    place: Place
    owner: tuple[str, str]  # host and, in a network of blocks per tenant, tenant


def allocate(state: State, host: str, request: Request, now: float) -> tuple[Change, Lease]:
    """One address of each family that this host has networks of.

    Raises ExhaustedError when a family has nothing to give now, InputError for what can never be given.
    """
    if state.held(host, request.owner):
        has = ", ".join(str(unpack(each)) for each in state.held(host, request.owner))
        raise InputError(f"address {request.owner}", f"is here already on host {host} with {has}; free it first")
    pools = list(_pools(state, host, request))
    if not pools:
        raise no_network(state, host, request)
    puts: list[Block] = []
    found: list[Address] = []
    for version in dict.fromkeys(pool.network.cidr.version for pool in pools):
        of_family = [pool for pool in pools if pool.network.cidr.version == version]
        wanted = next((each for each in request.wanted if each.version == version), None)
        block = _next(state, of_family, now) if wanted is None else _wanted(state, of_family, wanted, now)
        if block is None:
            raise exhausted(state, host, [(pool.network, pool.place) for pool in of_family], now)
        offset = state.choose(block) if wanted is None else pack(wanted) - block.first
        assert offset is not None
        puts.append(_used(block, offset, request.owner))
        found.append(unpack(Packed(block.first + offset)))
    for wanted in request.wanted:
        if wanted not in found:
            raise InputError(
                "ips", f"{wanted} is not to be had: no network of its family serves this pod, or two are asked"
            )
    return Change(puts=tuple(puts)), Lease(request.owner, tuple(found))


def free(state: State, host: str, owner: Owner, now: float) -> Change:
    """Take back what an owner on a host holds; nothing where it holds nothing."""
    by_block: dict[Packed, list[int]] = {}
    for address in state.held(host, owner):
        block = state.block_at(address)
        assert block is not None
        by_block.setdefault(block.first, []).append(address - block.first)
    puts = tuple(_freed(state.blocks[first], offsets, now) for first, offsets in by_block.items())
    if not state.strays:
        return Change(puts=puts)
    return Change(puts, tuple(each for each in state.strays.values() if (each.host, each.owner) == (host, owner)))


def free_address(state: State, address: Address, now: float, owner: Owner | None = None) -> Change:
    """Take back one address; nothing if it is free, or has another owner than the one that is meant."""
    block = state.block_at(pack(address))
    offset = pack(address) - block.first if block else 0
    if block is None or offset not in block.used or owner not in {None, block.used[offset]}:
        return NOTHING
    return Change(puts=(_freed(block, [offset], now),))


def emptied(block: Block, now: float) -> Block:
    """The block with nothing in use and nobody's."""
    return replace(_freed(block, list(block.used), now), host=None, tenant="")


def adopt(state: State, host: str, held: Mapping[Owner, Iterable[Address]], now: float) -> Change:
    """What the node itself says is in use there, and nothing else is: it is believed against the records.

    An address that the host's own blocks can hold goes into them, made if need be; one of a network that they cannot
    becomes a stray, which is never handed out. Addresses outside of every network are nobody's business here.
    """
    wanted = {pack(address): owner for owner, addresses in held.items() for address in addresses}
    blocks = {block.first: block for block in state.blocks_of(host)}
    fresh = dict(blocks)
    strays: dict[object, Stray] = {}
    for address, owner in wanted.items():
        network = state.network_at(address)
        if network is None:
            continue
        first = block_start(network, address)
        block = fresh.get(first) or _taken_over(state, host, network, first)
        if block is None:
            stray = Stray(address=unpack(address), host=host, owner=owner)
            strays[key_of(stray)] = stray
        elif block.used.get(address - first) != owner:
            fresh[first] = _used(block, address - first, owner)
    for first, block in fresh.items():
        gone = [offset for offset in block.used if first + offset not in wanted]
        if gone:
            fresh[first] = _freed(block, gone, now)
    old = {key: stray for key, stray in state.strays.items() if stray.host == host}
    puts = tuple(block for first, block in fresh.items() if blocks.get(first) is not block)
    new = tuple(
        replace(stray, revision=old[key].revision) if key in old else stray
        for key, stray in strays.items()
        if key not in old or old[key].owner != stray.owner
    )
    return Change((*puts, *new), tuple(stray for key, stray in old.items() if key not in strays))


def tenant_of(request: Request) -> str:
    """Whose networks a request may use."""
    return request.pod.namespace


def serving(state: State, request: Request) -> list[Network]:
    """The networks that may serve a request on some host: those that list its tenant first, per family.

    A tenant that is listed anywhere gets no address of that family elsewhere, unless one of those networks says spill.
    """
    tenant, marks = tenant_of(request), dict(request.namespace)
    found: list[Network] = []
    usable = [each for each in state.networks.values() if matches(each.namespaces, marks)]
    for version in dict.fromkeys(network.cidr.version for network in usable):
        family = [network for network in usable if network.cidr.version == version]
        own = [network for network in family if tenant in network.tenants]
        found += own
        if not own or any(network.spill for network in own):
            found += [network for network in family if not network.tenants]
    return found


def _pools(state: State, host: str, request: Request) -> Iterator[_Pool]:
    record = state.hosts.get(host)
    here = {place.network: place for place in record.places} if record else {}
    for network in serving(state, request):
        place = here.get(network.name)
        if place is not None:
            yield _Pool(network, place, (host, tenant_of(request) if network.blocks == PER_TENANT else ""))


def _next(state: State, pools: list[_Pool], now: float) -> Block | None:
    resting: list[tuple[float, Packed, _Pool]] = []

    for pool in pools:
        room = state.room(pool.place)

        def since(first: Packed, pool: _Pool = pool) -> float | None:
            return _since(state, first, pool.owner)

        def since_free(first: Packed) -> float | None:
            return _since(state, first, None)

        for owner, of in ((pool.owner, since), (None, since_free)):
            first = room.shelf(owner).rested(now, of)
            if first is not None:
                return _belonging(state.blocks[first], pool)
        block = _new(state, pool, room)
        if block is not None:
            return block
        for owner, of in ((pool.owner, since), (None, since_free)):
            longest = room.shelf(owner).longest(of)
            resting += [(*longest, pool)] if longest else []
    if not resting:
        return None
    _, first, pool = min(resting, key=lambda each: each[0])
    return _belonging(state.blocks[first], pool)


def _since(state: State, first: Packed, owner: tuple[str, str] | None) -> float | None:
    block = state.blocks.get(first)
    if block is None or (None if block.host is None else (block.host, block.tenant)) != owner:
        return None
    return state.since(block)


def _new(state: State, pool: _Pool, room: Room) -> Block | None:
    closed = state.trees[pool.network.name].closed
    index = room.made.past(0)
    while index < room.count:
        first = room.block(index)
        end = closed.end_of(first)
        if end is not None and end >= first + (1 << room.shift) - 1:
            index = room.made.past(room.index(Packed(end + 1)))  # the whole block is closed, and maybe many behind it
            continue
        block = _belonging(Block(network=pool.network.name, first=first, mask=pool.network.block_mask), pool)
        if state.since(block) is not None:
            return block
        index = room.made.past(index + 1)
    return None


def _belonging(block: Block, pool: _Pool) -> Block:
    host, tenant = pool.owner
    return block if block.host == host else replace(block, host=host, tenant=tenant)


def _wanted(state: State, pools: list[_Pool], address: Address, now: float) -> Block:
    place = "ips"
    pool = next((each for each in pools if address in state.region(each.place)), None)
    if pool is None:
        spans = " and ".join(str(state.region(each.place)) for each in pools)
        raise InputError(place, f"{address} is not to be had on this host; ask for one of {spans}")
    at = pack(address)
    if state.trees[pool.network.name].closed.end_of(at) is not None:
        raise InputError(place, f"{address} is reserved or blacked out in network {pool.network.name}; ask for another")
    if state.is_stray(at):
        raise ExhaustedError(place, f"{address} is in use though it was not given out; ask for another")
    first = block_start(pool.network, at)
    block = state.blocks.get(first) or Block(network=pool.network.name, first=first, mask=pool.network.block_mask)
    if block.host is not None and (block.host, block.tenant) != pool.owner:
        whose = f"host {block.host}" + (f", tenant {block.tenant}" if block.tenant else "")
        raise ExhaustedError(place, f"{address} lies in block {block.cidr} of {whose}; ask for another")
    if at - first in block.used:
        raise ExhaustedError(place, f"{address} is in use by {block.used[at - first]}; ask for another")
    since = block.freed.get(at - first)
    if since is not None and rests(since, now):
        text = f"{address} was freed just now and rests for {since + 30 - now:.0f} s more; try again then"
        raise ExhaustedError(place, text)
    return _belonging(block, pool)


def _taken_over(state: State, host: str, network: Network, first: Packed) -> Block | None:
    """The block as the host's own, if it may have it: it lies in the host's range and is nobody's, or not yet made."""
    record: Host | None = state.hosts.get(host)
    place = next((each for each in record.places if each.network == network.name), None) if record else None
    block = state.blocks.get(first) or Block(network=network.name, first=first, mask=network.block_mask)
    if place is None or block.host is not None or not within(block.cidr, state.region(place)):
        return None
    return replace(block, host=host)


def _used(block: Block, offset: int, owner: Owner) -> Block:
    freed = block.freed
    if offset in freed:
        freed = {each: at for each, at in freed.items() if each != offset}
    return replace(block, used={**block.used, offset: owner}, freed=freed)


def _freed(block: Block, offsets: list[int], now: float) -> Block:
    used = {offset: owner for offset, owner in block.used.items() if offset not in offsets}
    freed = {**block.freed, **dict.fromkeys(offsets, now)}
    if len(freed) > FREED_KEPT:
        longest = sorted(freed, key=freed.__getitem__)[: len(freed) - FREED_KEPT]
        for offset in longest:
            if not rests(freed[offset], now):
                del freed[offset]
    if used:
        return replace(block, used=used, freed=freed)
    return replace(block, host=None, tenant="", used=used, freed=freed)
