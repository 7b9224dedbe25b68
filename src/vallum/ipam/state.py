"""The present set of records, with what decisions ask of it indexed. It is edited by `apply` only, never copied.

A decision reads it and gives a Change; whoever owns the State applies that after the store took it. An index may move
something along while it is read (`shelves`); that never changes an answer. It belongs to one thread.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from itertools import chain

from vallum.ipam import Owner
from vallum.ipam.choose import usable
from vallum.ipam.pick import Spans, longest_free
from vallum.ipam.records import (
    Blackout,
    Block,
    Change,
    Host,
    Key,
    Network,
    Place,
    Record,
    Slots,
    Stray,
    Topology,
    key_of,
)
from vallum.ipam.shelves import Room, Runs
from vallum.ipam.topology import Spot, spots
from vallum.model.address import Address, Packed, pack, packed, parse, span
from vallum.model.address import Network as Cidr


class Tree:
    """What one network is split into, and how many hosts are where."""

    def __init__(self, network: Network, topology: Topology | None) -> None:
        found = () if topology is None else spots(network.cidr, topology.groups)
        self.spots: dict[Slots, Spot] = {spot.path: spot for spot in found}
        self.leaves = [spot for spot in self.spots.values() if spot.group.leaf]
        ends = [span(spot.cidr) for spot in self.leaves]  # in address order, as `spots` goes
        self._firsts, self._lasts = [first for first, _ in ends], [last for _, last in ends]
        self.hosts: dict[Slots, int] = {}
        self.prefixes: dict[Slots, Runs] = {}
        self.closed = Spans(_closed(network))

    def leaf_at(self, address: Packed) -> Spot | None:
        """The leaf whose range an address lies in."""
        at = bisect_right(self._firsts, address) - 1
        return self.leaves[at] if at >= 0 and address <= self._lasts[at] else None


class State:
    """All records. Read what you like; `apply` is the only way to change it.

    Attributes:
        revision: of the last change.
        networks: by name, in the order in which they are tried.
        topologies: by name.
        topology_of: by name of a network; one that is in none hands out nothing.
        hosts: by name.
        blocks: by first address.
        blackouts: by range.
        strays: by key.
        trees: by name of a network.
    """

    def __init__(self, records: Iterable[Record] = (), revision: int = 0) -> None:
        self.revision = revision
        self.networks: dict[str, Network] = {}
        self.topologies: dict[str, Topology] = {}
        self.topology_of: dict[str, Topology] = {}
        self.hosts: dict[str, Host] = {}
        self.blocks: dict[Packed, Block] = {}
        self.blackouts: dict[Cidr, Blackout] = {}
        self.strays: dict[Key, Stray] = {}
        self.trees: dict[str, Tree] = {}
        self._starts: list[tuple[Packed, str]] = []
        self._rooms: dict[Packed, Room] = {}
        self._held: dict[tuple[str, Owner], tuple[Packed, ...]] = {}
        self._of_host: dict[str, set[Packed]] = {}
        self._by_address: dict[Address, str] = {}
        self._astray: dict[Packed, int] = {}
        self.apply(Change(puts=tuple(records)), revision)

    # Reading

    def records(self) -> Iterator[Record]:
        """All of them, in no order that matters."""
        layout = (self.networks.values(), self.topologies.values(), self.blackouts.values())
        return chain(*layout, self.hosts.values(), self.blocks.values(), self.strays.values())

    def find(self, key: Key) -> Record | None:
        """The record of this key."""
        match key.kind:
            case "Network":
                return self.networks.get(key.name)
            case "Topology":
                return self.topologies.get(key.name)
            case "Host":
                return self.hosts.get(key.name)
            case "Block":
                return self.blocks.get(parse(key.name.partition("/")[0]))
            case "Blackout":
                return self.blackouts.get(ip_network(key.name))
            case _:
                return self.strays.get(key)

    def network_at(self, address: Packed) -> Network | None:
        """The network that an address lies in."""
        at = bisect_right(self._starts, (address, "\uffff")) - 1
        if at < 0:
            return None
        network = self.networks.get(self._starts[at][1])
        return network if network and address <= span(network.cidr)[1] else None

    def block_at(self, address: Packed) -> Block | None:
        """The block that an address lies in, if there is one."""
        network = self.network_at(address)
        if network is None:
            return None
        return self.blocks.get(block_start(network, address))

    def holder(self, address: Packed) -> tuple[str, Owner] | None:
        """Host and owner that a block gave this address to."""
        block = self.block_at(address)
        owner = block.used.get(address - block.first) if block else None
        return None if block is None or owner is None else (block.host or "", owner)

    def held(self, host: str, owner: Owner) -> tuple[Packed, ...]:
        """What an owner on a host has."""
        return self._held.get((host, owner), ())

    def holding(self) -> Iterator[tuple[str, Owner, tuple[Packed, ...]]]:
        """All owners: host, name, addresses."""
        return ((host, owner, addresses) for (host, owner), addresses in self._held.items())

    def blocks_of(self, host: str) -> list[Block]:
        """The blocks of a host, in address order."""
        return [self.blocks[first] for first in sorted(self._of_host.get(host, ()))]

    def host_at(self, address: Address) -> str | None:
        """The host with this address of its own."""
        return self._by_address.get(address)

    def is_stray(self, address: Packed) -> bool:
        """Reports whether a host uses it though no block of its own holds it."""
        return address in self._astray

    def astray(self) -> Iterable[Packed]:
        """The addresses of all strays."""
        return self._astray.keys()

    def region(self, place: Place) -> Cidr:
        """The range that a host's blocks are cut from: its own, or that of its group."""
        return place.prefix or self.trees[place.network].spots[place.path].cidr

    def room(self, place: Place) -> Room:
        """The blocks of a host's range."""
        return self._room(self.networks[place.network], pack(self.region(place).network_address), place.path)

    def since(self, block: Block) -> float | None:
        """When the address of the block that is free longest was freed; see `shelves.Since`."""
        found = longest_free(block, self.trees[block.network].closed, self._astray)
        return None if found is None else found[0]

    def choose(self, block: Block) -> int | None:
        """The offset of its address that is free longest."""
        found = longest_free(block, self.trees[block.network].closed, self._astray)
        return None if found is None else found[1]

    # Writing

    def apply(self, change: Change, revision: int) -> None:
        """Put the records of a change in, as a store stamped them. This is the only way in."""
        anew: set[str] = set()
        for record in change.gone:
            self._drop(record, anew)
        for record in change.puts:
            self._put(record, anew)
        self.revision = revision
        if anew:
            self._index(anew)

    def _put(self, record: Record, anew: set[str]) -> None:
        match record:
            case Block():
                self._put_block(record, anew)
            case Host():
                self._drop_host(record.name)
                self._put_host(record, anew)
            case Stray():
                self._drop(record, anew)
                self.strays[key_of(record)] = record
                self._tally(record, 1, anew)
            case Network():
                self.networks[record.name] = record
                anew.add(record.name)
            case Topology():
                self._drop(record, anew)
                self.topologies[record.name] = record
                anew.update(record.networks)
            case Blackout():
                self.blackouts[record.cidr] = record
                anew.update(self._around(record.cidr))

    def _drop(self, record: Record, anew: set[str]) -> None:
        match record:
            case Block():
                self._drop_block(record, anew)
            case Host():
                self._drop_host(record.name)
            case Stray():
                if self.strays.pop(key_of(record), None):
                    self._tally(record, -1, anew)
            case Network():
                self.networks.pop(record.name, None)
                anew.add(record.name)
            case Topology():
                old = self.topologies.pop(record.name, None)
                anew.update(old.networks if old else ())
            case Blackout():
                self.blackouts.pop(record.cidr, None)
                anew.update(self._around(record.cidr))

    def _around(self, cidr: Cidr) -> list[str]:
        network = self.network_at(span(cidr)[0])
        return [network.name] if network else []

    # Hosts

    def _put_host(self, host: Host, anew: set[str]) -> None:
        self.hosts[host.name] = host
        self._by_address.update(dict.fromkeys(host.addresses, host.name))
        for place in host.places:
            if place.network not in anew:
                self._count(place, 1)

    def _drop_host(self, name: str) -> None:
        host = self.hosts.pop(name, None)
        for address in host.addresses if host else ():
            self._by_address.pop(address, None)
        for place in host.places if host else ():
            self._count(place, -1)

    def _count(self, place: Place, by: int) -> None:
        tree = self.trees.get(place.network)
        if tree is None:
            return
        tree.hosts[place.path] = tree.hosts.get(place.path, 0) + by
        if place.prefix is not None:
            slots = tree.prefixes.setdefault(place.path, Runs())
            slot = int(place.prefix.network_address) >> (place.prefix.max_prefixlen - place.prefix.prefixlen)
            (slots.add if by > 0 else slots.discard)(slot)

    # Blocks

    def _put_block(self, block: Block, anew: set[str]) -> None:
        old = self.blocks.get(block.first)
        self.blocks[block.first] = block
        if old is not None and old.host == block.host:
            self._release(block, dict(old.used.items() - block.used.items()), block.host)
            self._hold(block, dict(block.used.items() - old.used.items()))
        else:
            if old is not None:
                self._release(block, old.used, old.host)
                self._of_host.get(old.host or "", set()).discard(block.first)
            self._hold(block, block.used)
            if block.host is not None:
                self._of_host.setdefault(block.host, set()).add(block.first)
        if block.network not in anew:
            self._shelve(block)

    def _drop_block(self, block: Block, anew: set[str]) -> None:
        old = self.blocks.pop(block.first, None)
        if old is not None:
            self._release(old, old.used, old.host)
            self._of_host.get(old.host or "", set()).discard(old.first)
            anew.add(old.network)

    def _hold(self, block: Block, used: Mapping[int, Owner]) -> None:
        held, host, first = self._held, block.host or "", block.first
        for offset, owner in used.items():
            has = held.get((host, owner))
            held[host, owner] = (Packed(first + offset),) if has is None else (*has, Packed(first + offset))

    def _release(self, block: Block, used: Mapping[int, Owner], host: str | None) -> None:
        for offset, owner in used.items():
            key = (host or "", owner)
            left = tuple(each for each in self._held.get(key, ()) if each != block.first + offset)
            if left:
                self._held[key] = left
            else:
                self._held.pop(key, None)

    def _tally(self, stray: Stray, by: int, anew: set[str]) -> None:
        address = pack(stray.address)
        count = self._astray.get(address, 0) + by
        if count:
            self._astray[address] = count
        else:
            del self._astray[address]
        block = self.block_at(address)
        if block is not None and block.network not in anew:
            self._shelve(block)

    def _shelve(self, block: Block) -> None:
        tree = self.trees.get(block.network)
        spot = tree.leaf_at(block.first) if tree else None
        if spot is None:
            return  # `verify` tells of it; nothing can be given from it
        room = self._room(self.networks[block.network], block.first, spot.path)
        room.made.add(room.index(block.first))
        owner = None if block.host is None else (block.host, block.tenant)
        room.shelf(owner).note(block.first, self.since(block))

    def _room(self, network: Network, address: Packed, path: Slots) -> Room:
        spot = self.trees[network.name].spots[path]
        mask = spot.group.host_prefix or spot.cidr.prefixlen
        bits = network.cidr.max_prefixlen
        first = Packed(address >> (bits - mask) << (bits - mask))
        room = self._rooms.get(first)
        if room is None:
            room = self._rooms[first] = Room(first, mask, network.block_mask, bits)
        return room

    # Indexing a network anew

    def _index(self, names: set[str]) -> None:
        self.networks = {each.name: each for each in sorted(self.networks.values(), key=lambda n: (n.order, n.name))}
        self.topology_of = {name: topology for topology in self.topologies.values() for name in topology.networks}
        self._starts = sorted((span(network.cidr)[0], network.name) for network in self.networks.values())
        for name in names:
            self._clear(name)
        for network in self.networks.values():
            if network.name in names:
                self.trees[network.name] = Tree(network, self.topology_of.get(network.name))
        for blackout in self.blackouts.values():
            for name in names.intersection(self._around(blackout.cidr)):
                self.trees[name].closed.add(*span(blackout.cidr))
        for host in self.hosts.values():
            for place in host.places:
                if place.network in names:
                    self._count(place, 1)
        for block in self.blocks.values():
            if block.network in names and block.network in self.trees:
                self._shelve(block)

    def _clear(self, name: str) -> None:
        tree = self.trees.pop(name, None)
        if tree is None:
            return
        for first in [first for first in self._rooms if tree.leaf_at(first)]:
            del self._rooms[first]


def block_start(network: Network, address: Packed) -> Packed:
    """Where the block begins that an address of the network lies in."""
    shift = network.cidr.max_prefixlen - network.block_mask
    return Packed(address >> shift << shift)


def _closed(network: Network) -> Iterator[tuple[Packed, Packed]]:
    """What a network never hands out, as first and last address."""
    yield from map(span, network.reserved)
    if not network.subnet:
        return
    version, (first, last) = network.cidr.version, span(network.cidr)
    low, high = usable(network.cidr)
    if network.gateway is not None:
        yield pack(network.gateway), pack(network.gateway)
        low = int(network.cidr.network_address) + (network.cidr.num_addresses >= 4)
    if packed(version, low) > first:
        yield first, Packed(packed(version, low) - 1)
    if packed(version, high) < last:
        yield Packed(packed(version, high) + 1), last
