"""The slow truth about a state, from its records alone: every address looked at one by one, no index asked.

Only for networks of a few hundred addresses.
"""

from collections import Counter
from collections.abc import Iterator

from vallum.ipam import Request
from vallum.ipam.choose import REST
from vallum.ipam.records import Block, Host, Network, Place
from vallum.ipam.state import State
from vallum.model.address import Address, pack
from vallum.model.selector import matches


def closed(state: State, network: Network, address: Address) -> bool:
    """Reserved, blacked out, or an end of a subnet."""
    if any(address in each for each in (*network.reserved, *state.blackouts)):
        return True
    ends = [network.cidr[0], network.gateway or network.cidr[1]]
    ends += [network.cidr[-1]] if network.cidr.version == 4 else []
    return network.subnet and network.cidr.num_addresses >= 4 and address in ends


def block_of(state: State, address: Address) -> Block | None:
    return next((block for block in state.blocks.values() if address in block.cidr), None)


def used(state: State, address: Address) -> list[tuple[str | None, str]]:
    """Everybody who has it."""
    found = [
        (block.host, owner)
        for block in state.blocks.values()
        for offset, owner in block.used.items()
        if block.cidr[offset] == address
    ]
    return found + [(stray.host, stray.owner) for stray in state.strays.values() if stray.address == address]


def freed(state: State, address: Address) -> float | None:
    block = block_of(state, address)
    return None if block is None else block.freed.get(pack(address) - block.first)


def available(state: State, host: str, request: Request, version: int) -> Iterator[Address]:
    """Every address of a family that this request could get on this host, resting or not."""
    record: Host | None = state.hosts.get(host)
    places = {place.network: place for place in record.places} if record else {}
    for network in _serving(state, request, version):
        if network.name in places:
            yield from _of_network(state, network, places[network.name], host, request)


def _serving(state: State, request: Request, version: int) -> list[Network]:
    tenant = request.pod.namespace
    family = [
        each
        for each in state.networks.values()
        if each.cidr.version == version and matches(each.namespaces, dict(request.namespace))
    ]
    own = [each for each in family if tenant in each.tenants]
    spill = not own or any(each.spill for each in own)
    return own + [each for each in family if spill and not each.tenants]


def _of_network(state: State, network: Network, place: Place, host: str, request: Request) -> Iterator[Address]:
    tenant = request.pod.namespace if network.blocks == "tenant" else ""
    for address in state.region(place):
        block = block_of(state, address)
        mine = block is None or block.host is None or (block.host, block.tenant) == (host, tenant)
        if mine and not used(state, address) and not closed(state, network, address):
            yield address


def count(state: State, network: Network, now: float) -> Counter[str]:
    """How many addresses of a network are what."""
    found: Counter[str] = Counter()
    for address in network.cidr:
        since = freed(state, address)
        if used(state, address):
            found["used"] += 1
        elif closed(state, network, address):
            found["closed"] += 1
        elif since is not None and now < since + REST:
            found["resting"] += 1
        else:
            found["free"] += 1
    return found
