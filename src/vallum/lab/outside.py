"""Which addresses the router of a lab holds, so that every ipBlock has an end inside, excepted and beside it.

Pure and complete: where a block has an address that may be held at all, one is found. Ends lie on the borders of
blocks, where an off-by-one would show.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from vallum.model.address import Address, Network
from vallum.model.objects import Block

_SPECIAL = tuple(
    map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/9", "ff00::/8"))
)
"""Unspecified, loopback, link-local, multicast, reserved: no router answers for them."""

_LIKED = tuple(map(ip_address, ("198.51.100.77", "203.0.113.77", "2001:db8::77")))
"""Documentation addresses (RFC 5737, RFC 3849), for blocks as wide as the world."""

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Ground:
    """What is not free, for one family. `soft`: taken only where a block leaves no other choice."""

    version: int
    hard: tuple[_Span, ...]
    soft: tuple[_Span, ...]


def holdable(address: Address, owned: frozenset[Address]) -> bool:
    """Reports whether the router may hold this address, given those of pods, nodes and the router."""
    special = any(address in network for network in _SPECIAL if network.version == address.version)
    return not special and address not in owned


def choose(blocks: Iterable[Block], owned: frozenset[Address], avoided: tuple[Network, ...]) -> tuple[Address, ...]:
    """For each block an address inside, one in each exception and one beside, sorted and without doubles."""
    grounds = {version: _ground(version, owned, avoided) for version in (4, 6)}
    found: set[Address | None] = set()
    for block in sorted(set(blocks), key=str):
        ground = grounds[block.network.version]
        found.add(_inside(block.network, tuple(map(_span, block.excepts)), ground))
        found.update(_inside(network, (), ground) for network in block.excepts)
        found.add(_beside(block.network, ground))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.version, int(one))))


def _ground(version: int, owned: frozenset[Address], avoided: tuple[Network, ...]) -> _Ground:
    special = [_span(network) for network in _SPECIAL if network.version == version]
    single = [(int(one), int(one)) for one in owned if one.version == version]
    soft = (_span(network) for network in avoided if network.version == version)
    return _Ground(version, tuple(sorted(special + single)), tuple(soft))


def _inside(network: Network, holes: tuple[_Span, ...], ground: _Ground) -> Address | None:
    low, high = _span(network)
    ends = ((low, low), (high, high)) if high - low > 1 else ()
    for liked in _LIKED:
        taken = (*ground.hard, *ground.soft, *holes)
        if liked in network and not any(first <= int(liked) <= last for first, last in taken):
            return liked
    for further in ((*ground.soft, *ends), ends, ()):
        found = _upward(low, high, (*ground.hard, *holes, *further))
        if found is not None:
            return _address(ground.version, found)
    return None


def _beside(network: Network, ground: _Ground) -> Address | None:
    low, high = _span(network)
    top = (1 << network.max_prefixlen) - 1
    for taken in ((*ground.hard, *ground.soft), ground.hard):
        for found in (_upward(high + 1, top, taken), _downward(low - 1, taken)):
            if found is not None:
                return _address(ground.version, found)
    return None


def _upward(low: int, high: int, taken: tuple[_Span, ...]) -> int | None:
    at = low
    for first, last in sorted(taken):
        if first <= at <= last:
            at = last + 1
    return at if at <= high else None


def _downward(high: int, taken: tuple[_Span, ...]) -> int | None:
    at = high
    for first, last in sorted(taken, key=lambda span: span[1], reverse=True):
        if first <= at <= last:
            at = first - 1
    return at if at >= 0 else None


def _span(network: IPv4Network | IPv6Network) -> _Span:
    return int(network.network_address), int(network.broadcast_address)


def _address(version: int, value: int) -> Address:
    return IPv4Address(value) if version == 4 else IPv6Address(value)
