"""Addresses as one integer: family in the top bits, so that a set, a range or a table serves IPv4 and IPv6.

Faces speak `ipaddress`; inside, `Packed` is compared, hashed and searched without asking for a family.
A pod that has no address yet is known by a packed name of family 0, which no network contains.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address
from typing import NewType

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Packed = NewType("Packed", int)

_SHIFT = 128
_MASK = (1 << _SHIFT) - 1


def pack(address: Address) -> Packed:
    """The address as `version << 128 | value`."""
    return Packed(address.version << _SHIFT | int(address))


def packed(version: int, value: int) -> Packed:
    """The address of this family with this number."""
    return Packed(version << _SHIFT | value)


def parse(text: str) -> Packed:
    """Pack the textual form. Raises ValueError when it is none."""
    return pack(ip_address(text))


def family(packed: Packed) -> int:
    """4, 6, or 0 for a pod known by name only."""
    return packed >> _SHIFT


def unpack(packed: Packed) -> Address:
    """The `ipaddress` form. Raises ValueError for a nameless end of family 0."""
    match family(packed):
        case 4:
            return IPv4Address(packed & _MASK)
        case 6:
            return IPv6Address(packed & _MASK)
        case _:
            raise ValueError("this end has a name but no address")


@lru_cache(16_384)
def show(packed: Packed) -> str:
    """For people: the address, or `-` for an end without one."""
    if family(packed) == 4:  # a plane's program has thousands, and `ipaddress` takes five times as long
        return f"{packed >> 24 & 255}.{packed >> 16 & 255}.{packed >> 8 & 255}.{packed & 255}"
    return str(unpack(packed)) if family(packed) else "-"


def by_name(name: str) -> Packed:
    """The stand-in address (family 0) of a pod that has none, from its `namespace/name`."""
    return Packed(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=15).digest()))


def collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The same addresses in as few networks as they can be, in order, IPv4 first."""
    found = list(networks)
    return (
        *collapse_addresses(each for each in found if each.version == 4),
        *collapse_addresses(each for each in found if each.version == 6),
    )


def span(network: Network) -> tuple[Packed, Packed]:
    """First and last packed address of a network."""
    first = pack(network.network_address)
    return first, Packed(first + (1 << network.max_prefixlen - network.prefixlen) - 1)
