"""The records against each other, and against what the node says is in use. Pure: it finds, and mends nothing.

A finding names what is wrong in one line. None is the proof that no address is given twice, that every one is inside of
its host's range, and that the groups still aggregate.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from vallum.ipam import NODE, Owner
from vallum.ipam.place import stays
from vallum.ipam.records import Block
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, within
from vallum.model.address import Address, Packed, pack, show, unpack
from vallum.model.errors import InputError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be.

    Attributes:
        rule: a short id.
        place: kind and name of the record.
        text: what is wrong.
    """

    rule: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text} ({self.rule})"


def verify(state: State, held: Mapping[str, Mapping[Owner, Iterable[Address]]] | None = None) -> list[Finding]:
    """All findings. `held`: for each host that was asked, who uses which addresses there."""
    findings = [*_layout(state), *_hosts(state), *_blocks(state), *_apart(state), *_strays(state)]
    for host, owners in (held or {}).items():
        findings += _node(state, host, {pack(at): owner for owner, addresses in owners.items() for at in addresses})
    return findings


def _layout(state: State) -> Iterator[Finding]:
    layout = Layout(tuple(state.networks.values()), tuple(state.topologies.values()), tuple(state.blackouts.values()))
    try:
        check(layout)
    except InputError as error:
        yield Finding("layout", error.place, error.problem)


def _hosts(state: State) -> Iterator[Finding]:
    prefixes: dict[object, str] = {}
    addresses: dict[Address, str] = {}
    for host in state.hosts.values():
        for address in host.addresses:
            if addresses.setdefault(address, host.name) != host.name:
                yield Finding("host-twice", f"Host {host.name}", f"{address} is also host {addresses[address]}'s")
        for place in host.places:
            network = state.networks.get(place.network)
            tree = state.trees.get(place.network)
            if network is None or tree is None or not stays(network, tree, host, place):
                text = f"its place {place.path} in network {place.network} is no group that takes it"
                yield Finding("misplaced", f"Host {host.name}", text)
            elif place.prefix and prefixes.setdefault(place.prefix, host.name) != host.name:
                text = f"its prefix {place.prefix} is also that of host {prefixes[place.prefix]}"
                yield Finding("prefix-twice", f"Host {host.name}", text)


def _blocks(state: State) -> Iterator[Finding]:
    for block in state.blocks.values():
        place = f"Block {show(block.first)}/{block.mask}"
        yield from (Finding(rule, place, text) for rule, text in _block(state, block))


def _block(state: State, block: Block) -> Iterator[tuple[str, str]]:
    bad = [offset for offset in (*block.used, *block.freed) if not 0 <= offset < block.size]
    if bad:
        yield "outside", f"offsets {bad} lie outside of it"
    both = block.used.keys() & block.freed.keys()
    if both:
        yield "used-and-free", f"offsets {sorted(both)} are in use and free"
    if block.first & (block.size - 1):
        yield "misaligned", "it does not begin on a multiple of its size"
        return
    network = state.networks.get(block.network)
    if network is None or not within(block.cidr, network.cidr):
        yield "no-network", f"it lies outside of its network {block.network}"
        return
    if block.mask != network.block_mask:
        yield "block-mask", f"blocks of network {block.network} are /{network.block_mask}"
    spot = state.trees[network.name].leaf_at(block.first)
    if spot is None or not within(block.cidr, spot.cidr):
        yield "no-group", "it lies in no group that is open, or across two"
    yield from _owner(state, block)


def _owner(state: State, block: Block) -> Iterator[tuple[str, str]]:
    if block.host is None:
        if block.used:
            yield "nobody", "addresses of it are in use and it is nobody's"
        return
    host = state.hosts.get(block.host)
    place = next((each for each in host.places if each.network == block.network), None) if host else None
    if host is None:
        yield "unknown-host", f"its host {block.host} is not here"
    elif place is None or place.path not in state.trees[block.network].spots:
        yield "unplaced-host", f"its host {block.host} has no place in network {block.network}"
    elif not within(block.cidr, state.region(place)):
        yield "outside-group", f"it lies outside of {state.region(place)}, the range of its host {block.host}"


def _apart(state: State) -> Iterator[Finding]:
    ordered = sorted(state.blocks.values(), key=lambda block: block.first)
    for one, other in pairwise(ordered):
        if other.first < one.first + one.size:
            yield Finding("overlap", f"Block {other.cidr}", f"overlaps block {one.cidr}: an address may be given twice")


def _strays(state: State) -> Iterator[Finding]:
    for stray in state.strays.values():
        holder = state.holder(pack(stray.address))
        if holder is not None:
            text = f"host {stray.host} uses it ({stray.owner}), and it was given to {holder[1]} on host {holder[0]}"
            yield Finding("twice", f"address {stray.address}", text)
        else:
            text = f"host {stray.host} uses it ({stray.owner}) though it lies outside of that host's blocks"
            yield Finding("stray", f"address {stray.address}", text)


def _node(state: State, host: str, used: Mapping[Packed, Owner]) -> Iterator[Finding]:
    given = {
        Packed(block.first + offset): owner for block in state.blocks_of(host) for offset, owner in block.used.items()
    }
    for address, owner in used.items():
        known = given.get(address)
        if state.network_at(address) is None or state.is_stray(address):
            continue
        if known is None:
            yield Finding(
                "unknown", f"address {unpack(address)}", f"{owner} on host {host} uses it, and nobody gave it"
            )
        elif known != owner:
            text = f"{owner} on host {host} uses it, and it was given to {known}"
            yield Finding("other-owner", f"address {unpack(address)}", text)
    for address, owner in given.items():
        if owner == NODE:  # the node's own, on no pod's link
            continue
        if address not in used:
            yield Finding("lost", f"address {unpack(address)}", f"given to {owner} on host {host}, and nobody uses it")
