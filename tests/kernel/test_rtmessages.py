"""The messages are byte for byte those that pyroute2 0.9 writes, and are read back as what they say."""

from ipaddress import ip_address, ip_interface, ip_network
from socket import AF_BRIDGE

import pytest

from vallum.kernel import rtmessages as rt
from vallum.kernel.netlink import attribute

MAC, PEER_MAC = "02:00:00:00:00:01", "06:00:00:00:00:01"
PEER = rt.link(name="eth0", mac=PEER_MAC, mtu=1400, namespace=9)

GOLDEN = {
    "a link asked for by name": (
        rt.link(name="vl0"),
        "00000000000000000000000000000000 08000300766c3000",
    ),
    "a veth with its peer in another namespace": (
        rt.link(up=True, name="vl0", mac=MAC, mtu=1400, info=rt.veth(PEER)),
        (
            "00000000000000000100000001000000 08000300766c3000 0a00010002000000000100000800040078050000500012"
            "00090001007665746800000000400002003c000100000000000000000000000000000000000900030065746830000000"
            "000a0001000600000000010000080004007805000008001c0009000000"
        ),
    ),
    "a bridge that does not snoop": (
        rt.link(up=True, name="br0", mac="02:00:00:00:00:0f", info=rt.bridge(snooping=False)),
        (
            "00000000000000000100000001000000 08000300627230000a00010002000000000f00001c0012000b0001006272696"
            "4676500000c0002000500170000000000"
        ),
    ),
    "a link set down": (rt.link(7, up=False), "00000000070000000000000001000000"),
    "a link with all that can be set": (
        rt.link(7, up=True, name="vl1", mac="02:00:00:00:00:09", mtu=1300, alias="ünd so", master=7),
        (
            "00000000070000000100000001000000 08000300766c31000c001400c3bc6e6420736f000a000100020000000009000"
            "0080004001405000008000a0007000000"
        ),
    ),
    "an own address": (
        rt.address(7, ip_interface("172.20.0.1/24")),
        "0218000007000000 08000200ac140001 08000100ac140001",
    ),
    "an own address that nobody is asked about": (
        rt.address(7, ip_interface("fd00::1/64"), detected=False),
        (
            "0a40000007000000 14000200fd000000000000000000000000000001 14000100fd0000000000000000000000000000"
            "010800080002000000"
        ),
    ),
    "the addresses of a link": (rt.addresses(6, 7), "0a00000007000000"),
    "a neighbour": (
        rt.neighbour(7, ip_address("169.254.1.1"), MAC),
        "020000000700000080000000 08000100a9fe0101 0a0002000200000000010000",
    ),
    "a neighbour of the other family": (
        rt.neighbour(7, ip_address("fd00::2"), MAC),
        "0a0000000700000080000000 14000100fd000000000000000000000000000002 0a0002000200000000010000",
    ),
    "the neighbours of a link": (rt.neighbours(index=7), "000000000000000000000000 0800080007000000"),
    "the entries of bridges": (rt.neighbours(AF_BRIDGE), "070000000000000000000000"),
    "a route through a device": (
        rt.route(ip_network("10.44.1.2/32"), 4, scope=rt.SCOPE_LINK, index=7),
        "02200000fe04fd0100000000 080001000a2c0102 0800040007000000",
    ),
    "a route to a gateway that no route leads to": (
        rt.route(
            ip_network("0.0.0.0/0"),
            4,
            scope=rt.SCOPE_GLOBAL,
            gateway=ip_address("169.254.1.1"),
            index=7,
            flags=rt.ONLINK,
        ),
        "02000000fe04000104000000 0800010000000000 08000500a9fe0101 0800040007000000",
    ),
    "a route by a gateway alone": (
        rt.route(ip_network("fd44::/64"), 86, scope=rt.SCOPE_GLOBAL, gateway=ip_address("fd00::2")),
        "0a400000fe56000100000000 14000100fd440000000000000000000000000000 14000500fd000000000000000000000000000002",
    ),
    "a route to be deleted": (
        rt.route(ip_network("fd44::/64"), 86, scope=rt.SCOPE_NOWHERE, metric=1024),
        "0a400000fe56ff0100000000 14000100fd440000000000000000000000000000 0800060000040000",
    ),
    "a route with a source, a locked MTU and a gateway of the other family": (
        rt.route(
            ip_network("10.44.2.0/24"),
            86,
            scope=rt.SCOPE_GLOBAL,
            gateway=ip_address("fe80::5"),
            index=7,
            flags=rt.ONLINK,
            source=ip_address("10.44.1.0"),
            mtu=1400,
        ),
        (
            "02180000fe56000104000000 080001000a2c0200 160012000a00fe8000000000000000000000000000050000"
            "0800040007000000 080007000a2c0100 140008800800010004000000 0800020078050000"
        ),
    ),
    "a neighbour to be deleted": (
        rt.no_neighbour(7, ip_address("169.254.1.1")),
        "020000000700000000000000 08000100a9fe0101",
    ),
    "an entry of a vxlan device": (
        rt.forward(7, MAC, ip_address("172.20.0.12")),
        "070000000700000080000200 08000100ac14000c 0a0002000200000000010000",
    ),
    "an entry to be deleted": (rt.no_forward(7, MAC), "070000000700000000000200 0a0002000200000000010000"),
    "the routes of a device": (rt.routes(4, 7), "02000000fe00000000000000 0800040007000000"),
    "the way to an address": (
        rt.way_to(ip_address("2001:db8::1")),
        "0a8000000000000000000000 1400010020010db8000000000000000000000001",
    ),
}


@pytest.mark.parametrize("what", GOLDEN)
def test_a_message_is_what_the_library_wrote(what: str) -> None:
    packed, golden = GOLDEN[what]
    assert packed.hex() == golden.replace(" ", "")


HEADER = bytes(16)


def test_a_route_is_read_as_it_was_written() -> None:
    destination, gateway = ip_network("fd44::/64"), ip_address("fd00::2")
    packed = rt.route(destination, 86, scope=rt.SCOPE_GLOBAL, gateway=gateway, index=7, metric=1024)
    told = rt.RouteTold(destination, gateway, 7, unicast=True, protocol=86, metric=1024, plain=True)
    assert rt.read_route(HEADER + packed) == told


def test_the_default_route_has_no_destination_in_its_message() -> None:
    packed = bytes.fromhex("02000000fe0400010000000008000500ac1400010800040007000000")
    told = rt.read_route(HEADER + packed)
    assert (told.destination, told.gateway) == (ip_network("0.0.0.0/0"), ip_address("172.20.0.1"))


@pytest.mark.parametrize(
    "kind", [9, 18, 22, 30], ids=["RTA_MULTIPATH", "RTA_VIA of no family", "RTA_ENCAP", "RTA_NH_ID"]
)
def test_a_route_that_goes_elsewhere_as_well_is_not_plain(kind: int) -> None:
    packed = rt.route(ip_network("10.0.0.0/8"), 4, scope=rt.SCOPE_GLOBAL) + attribute(kind, bytes(16))
    assert not rt.read_route(HEADER + packed).plain


def test_all_that_a_route_can_say_is_read_back() -> None:
    source, gateway = ip_address("10.44.1.0"), ip_address("fe80::5")
    packed = rt.route(
        ip_network("10.44.2.0/24"),
        86,
        scope=rt.SCOPE_GLOBAL,
        gateway=gateway,
        index=7,
        flags=rt.ONLINK,
        source=source,
        mtu=1400,
    )
    told = rt.read_route(HEADER + packed)
    assert (told.gateway, told.onlink, told.source, told.mtu, told.plain) == (gateway, True, source, 1400, True)


@pytest.mark.parametrize(
    "metrics",
    [attribute(2, b"\x78\5\0\0"), attribute(1, b"\4\0\0\0") + attribute(2, b"\x78\5\0\0") + attribute(8, b"\1\0\0\0")],
    ids=["an MTU that is not locked", "more than an MTU"],
)
def test_a_route_with_other_metrics_than_a_locked_mtu_is_not_plain(metrics: bytes) -> None:
    packed = rt.route(ip_network("10.0.0.0/8"), 4, scope=rt.SCOPE_GLOBAL) + attribute(8, metrics)
    assert not rt.read_route(HEADER + packed).plain


def test_what_was_learned_of_a_path_passes() -> None:
    way = rt.route(ip_network("10.0.0.1/32"), 0, scope=rt.SCOPE_GLOBAL, mtu=1400)
    assert not rt.read_route(HEADER + way).passing
    assert rt.read_route(HEADER + way + attribute(12, bytes(8) + b"\x10\0\0\0" + bytes(20))).passing


def test_an_entry_that_leads_to_another_port_is_told_apart() -> None:
    packed = rt.forward(7, MAC, ip_address("172.20.0.12"))
    assert not rt.read_neighbour(HEADER + packed).elsewhere
    assert rt.read_neighbour(HEADER + packed + attribute(6, b"\x12\xb5")).elsewhere


def test_a_blackhole_is_no_unicast_route() -> None:
    packed = bytearray(rt.route(ip_network("10.0.0.0/8"), 4, scope=rt.SCOPE_GLOBAL))
    packed[7] = 6  # RTN_BLACKHOLE
    assert not rt.read_route(HEADER + packed).unicast


def test_an_address_is_the_own_end_of_a_link_between_two() -> None:
    own, other = ip_interface("172.20.0.1/32"), ip_address("172.20.0.2")
    packed = bytes.fromhex("0220000007000000") + attribute(1, other.packed) + attribute(2, own.packed)
    assert rt.read_address(HEADER + packed) == (7, own)


def test_an_entry_of_a_bridge_names_its_master() -> None:
    packed = bytes.fromhex("070000000700000002000000") + attribute(2, b"\2\0\0\0\0\1") + attribute(9, b"\3\0\0\0")
    assert rt.read_neighbour(HEADER + packed) == rt.Neighbour(7, None, MAC, permanent=False, master=3)
