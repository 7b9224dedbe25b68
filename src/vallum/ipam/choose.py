"""Which address of a range comes next. Pure, and never walks a range: it steps over what is in use.

Addresses go round: the search begins behind the last one given, so that one that was freed rests for as long as the
range allows, and those of the last `rest` seconds are given only when nothing else is free (stance 17). What it
ignores: who asks, and whether an address is used by somebody who never asked here.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from vallum.model.address import Address, Network

REST = 30.0
"""Seconds for which a freed address is not given out while others are free: other nodes still hold its permissions."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range and what is known of it.

    Attributes:
        network: where it lies.
        held: the addresses in use.
        freed: when each free address was freed, for those that were ever used.
        last: the address that was given last.
    """

    network: Network
    held: Container[Address] = frozenset()
    freed: Mapping[Address, float] = field(default_factory=dict)
    last: Address | None = None


def choose(from_: Range, now: float) -> Address | None:
    """The next free address that rests no more; where there is none, the one that rests longest; else None."""
    first, end = usable(from_.network)
    size = end - first + 1
    start = first if from_.last is None or from_.last not in from_.network else int(from_.last) + 1
    resting: list[tuple[float, Address]] = []
    for step in range(size):  # ends with the first that is neither held nor resting
        address = from_.network[(start - first + step) % size + first - int(from_.network.network_address)]
        if address in from_.held:
            continue
        since = from_.freed.get(address)
        if since is None or not rests(since, now):
            return address
        resting.append((since, address))
    return min(resting, key=lambda each: each[0])[1] if resting else None


def rests(since: float, now: float) -> bool:
    """Reports whether an address that was freed then still rests. A clock that went back starts the rest anew."""
    return now < since + REST


def usable(network: Network) -> tuple[int, int]:
    """First and last address to give, as integers.

    The network's own, the first (by custom a bridge's or gateway's) and IPv4's broadcast stay out, unless the range is
    so small that nothing else is in it.
    """
    low, high = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses < 4:
        return low, high
    return low + 2, high - 1 if network.version == 4 else high


def spare(network: Network) -> Address | None:
    """The address of a range that no pod ever gets, for the node itself; None where it is too small to spare one."""
    return None if network.num_addresses < 4 else network.network_address


def is_usable(address: Address, network: Network) -> bool:
    """Reports whether an address of this range may be given out."""
    first, last = usable(network)
    return address in network and first <= int(address) <= last
