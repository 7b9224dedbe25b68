"""Headers from as many bytes as were kept: right where they are whole, never an error where they are not."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.flows.header import Header, parse
from vallum.lab import wire
from vallum.model.address import pack
from vallum.model.objects import ICMP, ICMPV6, SCTP, TCP, UDP

ENDS = {4: ("10.44.1.10", "10.44.2.20"), 6: ("fd44:0:0:1::10", "fd44:0:0:2::20")}
ENDS_OF = {version: tuple(map(ip_address, pair)) for version, pair in ENDS.items()}


def packet(version: int, protocol: int) -> bytes:
    source, target = ENDS_OF[version]
    body = wire.transport(source, target, protocol, (40000, 80), b"mark")
    return wire.ip_packet(source, target, protocol, body)


def extended(headers: bytes, first: int, protocol: int, body: bytes) -> bytes:
    """An IPv6 packet with these extension headers; the last one names the protocol."""
    source, target = ENDS_OF[6]
    head = struct.pack("!IHBB", 6 << 28, len(headers) + len(body), first, 64)
    assert protocol
    return head + source.packed + target.packed + headers + body


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_ports_are_read_in_both_families(version: int, protocol: int):
    source, target = map(pack, ENDS_OF[version])
    assert parse(packet(version, protocol)) == Header(source, target, protocol, 40000, 80)


@pytest.mark.parametrize("version", [4, 6])
def test_an_echo_has_its_type_and_identifier(version: int):
    source, target = ENDS_OF[version]
    data = wire.ip_packet(source, target, wire.icmp_number(source), wire.echo(source, target, 77, b"mark"))
    header = parse(data)
    assert header is not None
    assert (header.protocol, header.icmp_id) == ((ICMP if version == 4 else ICMPV6), 77)
    assert header.icmp_type == (8 if version == 4 else 128)


def test_an_icmp_error_has_no_identifier():
    source, target = ENDS_OF[4]
    header = parse(wire.ip_packet(source, target, ICMP, wire.icmp(source, target, 3, 1, bytes(8))))
    assert header is not None
    assert (header.icmp_type, header.icmp_id) == (3, None)


def test_a_portless_protocol_has_only_ends():
    source, target = map(pack, ENDS_OF[4])
    assert parse(packet(4, 253)) == Header(source, target, 253)


def test_options_of_ipv4_are_skipped():
    data = bytearray(packet(4, TCP))
    data = data[:20] + b"\1\1\1\1" + data[20:]
    data[0] = 0x46
    header = parse(bytes(data))
    assert header is not None
    assert (header.sport, header.dport) == (40000, 80)


def test_a_later_fragment_has_no_ports():
    data = bytearray(packet(4, UDP))
    data[6:8] = struct.pack("!H", 185)
    source, target = map(pack, ENDS_OF[4])
    assert parse(bytes(data)) == Header(source, target, UDP)


def test_extension_headers_of_ipv6_are_skipped():
    udp = wire.transport(*ENDS_OF[6], UDP, (40000, 53), b"mark")
    hop_by_hop = bytes([60, 0, 1, 4, 0, 0, 0, 0])
    options = bytes([UDP, 1]) + bytes(14)
    header = parse(extended(hop_by_hop + options, 0, UDP, udp))
    assert header is not None
    assert (header.protocol, header.sport, header.dport) == (UDP, 40000, 53)


def test_a_fragment_header_is_skipped_and_only_the_first_fragment_has_ports():
    udp = wire.transport(*ENDS_OF[6], UDP, (40000, 53), b"mark")
    first = parse(extended(struct.pack("!BBHI", UDP, 0, 1, 7), 44, UDP, udp))
    later = parse(extended(struct.pack("!BBHI", UDP, 0, 185 << 3, 7), 44, UDP, udp))
    assert first is not None
    assert later is not None
    assert (first.protocol, first.dport) == (UDP, 53)
    assert (later.protocol, later.dport) == (UDP, 0)


@given(st.binary(max_size=120))
def test_random_bytes_never_raise(data: bytes):
    assert parse(data) is None or isinstance(parse(data), Header)


@given(st.sampled_from([4, 6]), st.binary(max_size=120))
def test_bytes_that_begin_like_a_header_never_raise(version: int, data: bytes):
    parse(bytes([version << 4 | 5]) + data)


@given(
    st.sampled_from([4, 6]),
    st.sampled_from([TCP, UDP, SCTP, ICMP, ICMPV6, 0, 43, 44, 60, 253]),
    st.integers(0, 120),
    st.binary(max_size=40),
)
def test_a_truncated_packet_keeps_its_ends_or_is_none(version: int, protocol: int, cut: int, tail: bytes):
    whole = packet(version, TCP)
    head = 20 if version == 4 else 40
    data = bytearray(whole[:head] + tail + whole[head:])
    data[9 if version == 4 else 6] = protocol
    header = parse(bytes(data[:cut]))
    assert (header is not None) == (cut >= head)
    if header is not None:
        assert (header.source, header.destination) == tuple(map(pack, ENDS_OF[version]))
        assert 0 <= header.sport <= 65535
        assert 0 <= header.dport <= 65535
