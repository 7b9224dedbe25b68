"""Packets made by hand, as bytes: what no socket of this kernel sends (SCTP without SCTP sockets, foreign sources).

Pure. Layouts: RFC 791, 8200, 9293, 768, 792, 4443, 9260.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vallum.model.address import Address
from vallum.model.objects import ICMP, ICMPV6, SCTP, TCP, UDP

_HOPS = 64
_GRE = 47
_PLAIN_GRE = b"\0\0\x88\xb5"
"""A GRE header without options (RFC 2784): conntrack calls one that looks like PPTP's invalid."""


def ip_packet(source: Address, destination: Address, protocol: int, payload: bytes) -> bytes:
    """An IP packet of the ends' family with its header."""
    if source.version == 4:
        total = 20 + len(payload)
        head = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0x4000, _HOPS, protocol, 0)
        head += source.packed + destination.packed
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, _HOPS)
    return head + source.packed + destination.packed + payload


def transport(source: Address, destination: Address, protocol: int, ports: tuple[int, int], mark: bytes) -> bytes:
    """The first packet of a flow of this protocol: SYN, datagram, INIT; for portless protocols only the mark."""
    sport, dport = ports
    if protocol == TCP:
        body = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 0x02, 64240, 0, 0)
        return _summed(source, destination, protocol, body, 16)
    if protocol == UDP:
        body = struct.pack("!HHHH", sport, dport, 8 + len(mark), 0) + mark
        return _summed(source, destination, protocol, body, 6)
    if protocol == SCTP:
        return sctp_init(sport, dport, tag=int.from_bytes(mark[:4].ljust(4, b"\1"), "big"))
    return _PLAIN_GRE + mark if protocol == _GRE else mark


def icmp(source: Address, destination: Address, kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP or ICMPv6 message; `rest` begins after the checksum."""
    body = struct.pack("!BBH", kind, code, 0) + rest
    if source.version == 6:
        return _summed(source, destination, ICMPV6, body, 2)
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def echo(source: Address, destination: Address, number: int, mark: bytes) -> bytes:
    """An echo request of this family with an identifier."""
    kind = 8 if source.version == 4 else 128
    return icmp(source, destination, kind, 0, struct.pack("!HH", number, 1) + mark)


def icmp_number(address: Address) -> int:
    """The protocol number of ICMP in this family."""
    return ICMP if address.version == 4 else ICMPV6


def _summed(source: Address, destination: Address, protocol: int, body: bytes, offset: int) -> bytes:
    pseudo = source.packed + destination.packed + struct.pack("!II", len(body), protocol)
    found = checksum(pseudo + body) or 0xFFFF
    return body[:offset] + struct.pack("!H", found) + body[offset + 2 :]


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


# SCTP: conntrack calls a bad CRC32c, or a first chunk that is not INIT, invalid.

INIT, INIT_ACK = 1, 2


@dataclass(frozen=True, slots=True)
class Sctp:
    """The facts of an SCTP packet's first chunk. `initiate_tag` is 0 unless it is INIT or INIT ACK."""

    sport: int
    dport: int
    verification_tag: int
    chunk: int
    initiate_tag: int


def sctp_init(sport: int, dport: int, tag: int) -> bytes:
    """An INIT chunk (RFC 9260, 3.3.2): verification tag 0, one stream each way."""
    return _sctp(sport, dport, 0, _init_chunk(INIT, tag, b""))


def sctp_init_ack(asked: Sctp, tag: int) -> bytes:
    """The INIT ACK that answers an INIT, with the state cookie that it must carry."""
    cookie = struct.pack("!HH", 7, 12) + b"vallum\0\0"
    return _sctp(asked.dport, asked.sport, asked.initiate_tag, _init_chunk(INIT_ACK, tag, cookie))


def parse_sctp(data: bytes) -> Sctp | None:
    """The first chunk of a packet that starts at its SCTP header; None when it is cut off."""
    if len(data) < 16:
        return None
    sport, dport, tag, _sum = struct.unpack_from("!HHII", data)
    chunk = data[12]
    initiate = struct.unpack_from("!I", data, 16)[0] if chunk in (INIT, INIT_ACK) and len(data) >= 20 else 0
    return Sctp(sport, dport, tag, chunk, initiate)


def _init_chunk(kind: int, tag: int, parameters: bytes) -> bytes:
    body = struct.pack("!IIHHI", tag, 65536, 1, 1, 1) + parameters
    return struct.pack("!BBH", kind, 0, 4 + len(body)) + body


def _sctp(sport: int, dport: int, tag: int, chunk: bytes) -> bytes:
    head = struct.pack("!HHI", sport, dport, tag)
    return head + struct.pack("<I", crc32c(head + b"\0\0\0\0" + chunk)) + chunk


def _crc_table() -> Iterator[int]:
    for value in range(256):
        entry = value
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        yield entry


_CRC = tuple(_crc_table())


def crc32c(data: bytes) -> int:
    """Castagnoli CRC (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
