"""What the programs of ipip look up, as bytes and in words. Pure.

Layouts are those of bpf/ipip.bpf.c; a test holds both together. Addresses are in network byte order, a prefix of a trie
stands before its key. What it ignores: IPv6, which these programs do not carry.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from vallum.model.address import Address
from vallum.model.wiring import Carried, Origin

REASONS = ("no-way", "unknown-outer", "wrong-inner", "fragment", "malformed")
"""Why a packet was dropped, in the order of `enum reason`: nothing carries its destination; no node known has its outer
source; that node does not have its inner source; it was cut on its way; it is no whole packet."""

OWN_KEY = bytes(4)
_OWN, _WAY_KEY, _WAY, _ORIGIN_KEY = (struct.Struct(form) for form in ("=4sI6s2x", "=I4s", "=4sI", "=I4s4s"))
_KNOWN, _MAY = struct.pack("=I", 0), struct.pack("=I", 1)
_OUTER_BITS = 32

Say = Callable[[bytes, bytes], str]
"""An entry in words."""


def own(local: Address, index: int, mac: str) -> bytes:
    """The outer source, and the tunnel device."""
    return _OWN.pack(local.packed, index, bytes.fromhex(mac.replace(":", "")))


def ways(carried: Iterable[Carried], uplinks: Mapping[Address, int]) -> dict[bytes, bytes]:
    """Where inner destinations go: the outer one, and the interface that leads there, where there is one."""
    return {
        _WAY_KEY.pack(one.inner.prefixlen, one.inner.network_address.packed): _WAY.pack(one.remote.packed, uplink)
        for one in carried
        if one.inner.version == 4 and (uplink := uplinks.get(one.remote)) is not None
    }


def origins(allowed: Iterable[Origin]) -> dict[bytes, bytes]:
    """Which inner sources may come from which outer one, and which outer ones are known at all."""
    found = [one for one in allowed if one.inner.version == one.outer.version == 4]
    known = {_ORIGIN_KEY.pack(_OUTER_BITS, one.outer.packed, bytes(4)): _KNOWN for one in found}
    return known | {
        _ORIGIN_KEY.pack(_OUTER_BITS + one.inner.prefixlen, one.outer.packed, one.inner.network_address.packed): _MAY
        for one in found
    }


def say_way(key: bytes, value: bytes) -> str:
    """Such as `way to 10.44.2.0/24 by 172.20.0.12`."""
    length, inner = _WAY_KEY.unpack(key)
    return f"way to {IPv4Network((inner, length))} by {IPv4Address(_WAY.unpack(value)[0])}"


def say_origin(key: bytes, value: bytes) -> str:
    """Such as `origin 10.44.2.0/24 from 172.20.0.12`."""
    length, outer, inner = _ORIGIN_KEY.unpack(key)
    source = f"{IPv4Network((inner, length - _OUTER_BITS))} from " if value == _MAY else ""
    return f"origin {source}{IPv4Address(outer)}"


def summed(value: bytes) -> int:
    """A counter that each processor has its own of."""
    return sum(int.from_bytes(value[at : at + 8], sys.byteorder) for at in range(0, len(value), 8))
