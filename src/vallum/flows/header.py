"""The header of a logged packet: IPv4 and IPv6, TCP, UDP, SCTP and ICMP, from as many bytes as were kept.

Lengths are checked everywhere: what is cut off or unknown comes out as a packet with fewer facts, never as an error.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from vallum.model.address import Packed, pack
from vallum.model.objects import ICMP, ICMPV6
from vallum.model.packet import PORTED

_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
_FRAGMENT = 44


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says of itself. Ports are 0 and ICMP fields None where the protocol has none."""

    source: Packed
    destination: Packed
    protocol: int
    sport: int = 0
    dport: int = 0
    icmp_type: int | None = None
    icmp_id: int | None = None


def parse(data: bytes) -> Header | None:
    """The header of a packet that starts at its IP header; None when it is not even that."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        length = (data[0] & 15) * 4
        first = struct.unpack_from("!H", data, 6)[0] & 0x1FFF == 0
        return _transport(data[12:16], data[16:20], data[9], data[length:] if first else b"")
    if version == 6 and len(data) >= 40:
        protocol, rest = _skip_extensions(data[6], data[40:])
        return _transport(data[8:24], data[24:40], protocol, rest)
    return None


def _skip_extensions(protocol: int, rest: bytes) -> tuple[int, bytes]:
    while protocol in _EXTENSIONS or protocol == _FRAGMENT:
        if len(rest) < 8:
            return protocol, b""
        if protocol == _FRAGMENT:
            first = struct.unpack_from("!H", rest, 2)[0] & 0xFFF8 == 0
            protocol, rest = rest[0], rest[8:] if first else b""
        else:
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    return protocol, rest


def _transport(source: bytes, destination: bytes, protocol: int, rest: bytes) -> Header:
    ends = pack(ip_address(source)), pack(ip_address(destination))
    if protocol in PORTED and len(rest) >= 4:
        return Header(*ends, protocol, *struct.unpack_from("!HH", rest))
    if protocol in (ICMP, ICMPV6) and len(rest) >= 1:
        echo = rest[0] in ((8, 0) if protocol == ICMP else (128, 129)) and len(rest) >= 6
        return Header(*ends, protocol, 0, 0, rest[0], struct.unpack_from("!H", rest, 4)[0] if echo else None)
    return Header(*ends, protocol)
