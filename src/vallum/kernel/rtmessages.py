"""The messages of rtnetlink as bytes: packed for a request, read from an answer. Pure.

After linux/if_link.h, if_addr.h, neighbour.h and rtnetlink.h. By hand, because the library for it takes longer to
import than a first world takes to enforce. Indexes, not names. What it ignores: every attribute that nobody asks for.
"""

import socket
import struct
import sys
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from vallum.kernel.netlink import attribute, attributes
from vallum.model.address import Address, Network, Packed, packed

Interface = IPv4Interface | IPv6Interface

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

MAIN, UNICAST, UNREACHABLE = 254, 1, 7
KERNEL = 2
"""RTPROT_KERNEL."""
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255
ONLINK = 4
"""RTNH_F_ONLINK."""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_HEADER = 16
_KNOWN = 1 << 14
"""Addresses and networks that are remembered: the same few thousand are read again and again."""
_LINK, _ADDRESS = struct.Struct("=BxHiII"), struct.Struct("=BBBBi")
_NEIGHBOUR, _ROUTE = struct.Struct("=BxxxiHBB"), struct.Struct("=BBBBBBBBI")

_UP, _RUNNING = 0x1, 0x40
_PERMANENT, _NODAD, _SELF = 0x80, 0x02, 0x02
_NESTED = 0x8000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 18, 20, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER, _BR_MCAST_SNOOPING = 1, 2, 1, 23
_IFLA_INET_CONF = 1
_IFLA_EXT_MASK, _SKIP_STATS = 29, 8
_RP_FILTER = 8
"""IPV4_DEVCONF_RP_FILTER. Written under this number; in what is read, an array, it is the element before."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX, _NDA_MASTER = 1, 2, 6, 7, 8, 9
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS = 1, 4, 5, 6, 7, 8
_RTA_MULTIPATH, _RTA_CACHEINFO, _RTA_VIA, _RTA_ENCAP, _RTA_NH_ID = 9, 12, 18, 22, 30
_ELSEWHERE = frozenset({_RTA_MULTIPATH, _RTA_ENCAP, _RTA_NH_ID})
"""Attributes of a route that leads to more than one gateway and one device."""
_RTAX_LOCK, _RTAX_MTU = 1, 2


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `running`: up, with a carrier, and its queue takes packets.

    `peer`: of a veth, the index of its other end where that end lives; 0 for links without one. `alias`: free text.
    """

    name: str
    index: int
    mac: str
    up: bool
    running: bool
    mtu: int = 0
    peer: int = 0
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour, or an entry of a bridge: behind which of its ports (`index`) a MAC lives, `master` the bridge.

    An entry of a vxlan device has in `address` the outer one; `elsewhere`: to another port or VNI than the device's.
    """

    index: int
    address: Address | None
    mac: str
    permanent: bool
    master: int = 0
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class RouteTold:
    """A route. `index` of its device; `plain`: one next hop, told in full, and an MTU that is locked, if any.

    `passing`: it ends of itself; the way to an address does where the path was found to be narrower than the link.
    """

    destination: Network
    gateway: Address | None
    index: int | None
    unicast: bool
    protocol: int
    metric: int
    plain: bool
    onlink: bool = False
    source: Address | None = None
    mtu: int | None = None
    passing: bool = False


# Packed


def link(
    index: int = 0,
    *,
    up: bool | None = None,
    name: str | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    master: int | None = None,
    namespace: int | None = None,
    info: bytes = b"",
) -> bytes:
    """A link, by index or name, with what is to be changed or asked. `namespace`: the descriptor of its home.

    `info`: what kind it is, of `veth` or `bridge`.
    """
    head = _LINK.pack(0, 0, index, _UP if up else 0, 0 if up is None else _UP)
    texts = ((_IFLA_IFNAME, name), (_IFLA_IFALIAS, alias))
    numbers = ((_IFLA_MTU, mtu), (_IFLA_MASTER, master), (_IFLA_NET_NS_FD, namespace))
    body = b"".join(attribute(kind, text.encode() + b"\0") for kind, text in texts if text is not None)
    body += b"" if mac is None else attribute(_IFLA_ADDRESS, _hardware(mac))
    return head + body + b"".join(_number(kind, number) for kind, number in numbers if number is not None) + info


def links() -> bytes:
    """A question for all links, without their statistics, which are half of the answer."""
    return _LINK.pack(0, 0, 0, 0, 0) + _number(_IFLA_EXT_MASK, _SKIP_STATS)


def veth(peer: bytes | None = None) -> bytes:
    """What kind a link is: one end of a pair, the other as `link` packs it, or as the kernel likes it."""
    return _info("veth", b"" if peer is None else attribute(_VETH_PEER, peer))


def bridge(*, snooping: bool) -> bytes:
    """What kind a link is: a bridge, which learns multicast groups or not."""
    return _info("bridge", attribute(_BR_MCAST_SNOOPING, bytes([snooping])))


def rp_filter(index: int, value: int) -> bytes:
    """A link with its reverse path filter."""
    setting = _number(_RP_FILTER, value)
    for kind in (_IFLA_INET_CONF, socket.AF_INET, _IFLA_AF_SPEC):
        setting = attribute(kind | _NESTED, setting)
    return link(index) + setting


def address(index: int, own: Interface, *, detected: bool = True) -> bytes:
    """An address of a link. Not `detected`: nobody is asked whether another has it."""
    head = _ADDRESS.pack(FAMILIES[own.version], own.network.prefixlen, 0, 0, index)
    body = attribute(_IFA_LOCAL, own.packed) + attribute(_IFA_ADDRESS, own.packed)
    return head + body + (b"" if detected else _number(_IFA_FLAGS, _NODAD))


def addresses(version: int, index: int = 0) -> bytes:
    """A query for the addresses of one family: of one link, or of all."""
    return _ADDRESS.pack(FAMILIES[version], 0, 0, 0, index)


def neighbour(index: int, whose: Address, mac: str) -> bytes:
    """A permanent neighbour."""
    head = _NEIGHBOUR.pack(FAMILIES[whose.version], index, _PERMANENT, 0, 0)
    return head + attribute(_NDA_DST, whose.packed) + attribute(_NDA_LLADDR, _hardware(mac))


def no_neighbour(index: int, whose: Address) -> bytes:
    """A neighbour to be deleted, whatever its MAC."""
    return _NEIGHBOUR.pack(FAMILIES[whose.version], index, 0, 0, 0) + attribute(_NDA_DST, whose.packed)


def forward(index: int, mac: str, remote: Address) -> bytes:
    """A permanent entry of a vxlan device: frames to this MAC go to that outer address."""
    head = _NEIGHBOUR.pack(socket.AF_BRIDGE, index, _PERMANENT, _SELF, 0)
    return head + attribute(_NDA_DST, remote.packed) + attribute(_NDA_LLADDR, _hardware(mac))


def no_forward(index: int, mac: str) -> bytes:
    """An entry of a vxlan device to be deleted, wherever it leads."""
    return _NEIGHBOUR.pack(socket.AF_BRIDGE, index, 0, _SELF, 0) + attribute(_NDA_LLADDR, _hardware(mac))


def neighbours(family: int = socket.AF_UNSPEC, index: int | None = None) -> bytes:
    """A query for the neighbours of one link, or of all; of AF_BRIDGE for the entries of bridges."""
    head = _NEIGHBOUR.pack(family, 0, 0, 0, 0)
    return head + (b"" if index is None else _number(_NDA_IFINDEX, index))


def route(
    destination: Network,
    protocol: int,
    *,
    scope: int,
    gateway: Address | None = None,
    index: int | None = None,
    metric: int = 0,
    flags: int = 0,
    kind: int = UNICAST,
    source: Address | None = None,
    mtu: int | None = None,
) -> bytes:
    """A route of the main table. No `metric`: the kernel's choice, or any. `mtu`: locked."""
    family = FAMILIES[destination.version]
    head = _ROUTE.pack(family, destination.prefixlen, 0, 0, MAIN, protocol, scope, kind, flags)
    body = attribute(_RTA_DST, destination.network_address.packed)
    body += b"" if gateway is None else _gateway(gateway, destination.version)
    body += b"" if index is None else _number(_RTA_OIF, index)
    body += b"" if source is None else attribute(_RTA_PREFSRC, source.packed)
    if mtu is not None:
        metrics = _number(_RTAX_LOCK, 1 << _RTAX_MTU) + _number(_RTAX_MTU, mtu)
        body += attribute(_RTA_METRICS | _NESTED, metrics)
    return head + body + (_number(_RTA_PRIORITY, metric) if metric else b"")


def routes(version: int, index: int | None = None) -> bytes:
    """A query for the routes of the main table in one family, through one device or through any."""
    head = _ROUTE.pack(FAMILIES[version], 0, 0, 0, MAIN, 0, 0, 0, 0)
    return head + (b"" if index is None else _number(_RTA_OIF, index))


def way_to(whose: Address) -> bytes:
    """A query for the route that a packet to this address takes."""
    head = _ROUTE.pack(FAMILIES[whose.version], whose.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return head + attribute(_RTA_DST, whose.packed)


# Read


def read_link(data: bytes) -> Link:
    """A link from a message with its header."""
    (_, _, index, flags, _), found = _parts(_LINK, data)
    mac = found.get(_IFLA_ADDRESS, b"").hex(":")
    name, alias = (
        found.get(kind, b"").rstrip(b"\0").decode(errors="replace") for kind in (_IFLA_IFNAME, _IFLA_IFALIAS)
    )
    mtu, peer = (integer(found.get(kind)) for kind in (_IFLA_MTU, _IFLA_LINK))
    return Link(name, index, mac, bool(flags & _UP), bool(flags & _RUNNING), mtu, peer, alias)


def read_name(data: bytes) -> tuple[int, str]:
    """Index and name of a link."""
    (_, _, index, _, _), found = _parts(_LINK, data)
    return index, found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")


def read_rp_filter(data: bytes) -> tuple[str, int | None]:
    """The name of a link and its reverse path filter, None where it speaks no IPv4."""
    found = _parts(_LINK, data)[1]
    name, value = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"), found.get(_IFLA_AF_SPEC)
    for kind in (socket.AF_INET, _IFLA_INET_CONF):
        value = dict(attributes(value)).get(kind) if value is not None else None
    return name, None if value is None else integer(value[4 * (_RP_FILTER - 1) : 4 * _RP_FILTER])


def read_address(data: bytes) -> tuple[int, Interface]:
    """An own address and the index of its link."""
    (family, length, _, _, index), found = _parts(_ADDRESS, data)
    packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    form = IPv4Interface if family == socket.AF_INET else IPv6Interface
    return index, form((packed, length))


def read_neighbour(data: bytes) -> Neighbour:
    """A neighbour, or an entry of a bridge."""
    (_, index, state, _, _), found = _parts(_NEIGHBOUR, data)
    whose, mac = read_ip(found.get(_NDA_DST)), found.get(_NDA_LLADDR, b"").hex(":")
    elsewhere = not found.keys().isdisjoint((_NDA_PORT, _NDA_VNI, _NDA_IFINDEX))
    return Neighbour(index, whose, mac, bool(state & _PERMANENT), integer(found.get(_NDA_MASTER)), elsewhere)


def read_route(data: bytes) -> RouteTold:
    """A route."""
    (family, length, _, _, _, protocol, _, type_, flags), found = _parts(_ROUTE, data)
    index, metric = integer(found.get(_RTA_OIF)), integer(found.get(_RTA_PRIORITY))
    mtu, only = _locked_mtu(found[_RTA_METRICS]) if _RTA_METRICS in found else (None, True)
    via = found.get(_RTA_VIA, b"")[2:]
    return RouteTold(
        _network(family, found.get(_RTA_DST), length),
        read_ip(found.get(_RTA_GATEWAY) or (via if len(via) in {4, 16} else None)),
        index or None,
        type_ == UNICAST,
        protocol,
        metric,
        only and found.keys().isdisjoint(_ELSEWHERE) and len(via) in {0, 4, 16},
        bool(flags & ONLINK),
        read_ip(found.get(_RTA_PREFSRC)),
        mtu,
        bool(integer(found.get(_RTA_CACHEINFO, b"")[8:12])),
    )


def read_host_route(data: bytes) -> tuple[Packed, int] | None:
    """The address and the link of a route to one address on link; None for any other, and for the kernel's own."""
    family, length, _, _, _, protocol, _, type_, _ = _ROUTE.unpack_from(data, _HEADER)
    version, bits = (4, 32) if family == socket.AF_INET else (6, 128)
    if length != bits or type_ != UNICAST or protocol == KERNEL:  # the kernel's own: an address of ours
        return None
    found = dict(attributes(data[_HEADER + _ROUTE.size :]))
    if _RTA_GATEWAY in found or _RTA_VIA in found or _RTA_OIF not in found:
        return None
    return packed(version, int.from_bytes(found[_RTA_DST])), integer(found[_RTA_OIF])


def _parts(form: struct.Struct, data: bytes) -> tuple[tuple[int, ...], dict[int, bytes]]:
    return form.unpack_from(data, _HEADER), dict(attributes(data[_HEADER + form.size :]))


def _locked_mtu(metrics: bytes) -> tuple[int | None, bool]:
    """The MTU of a route, None without one, and whether it is locked and all that its metrics say."""
    told = {kind: integer(value) for kind, value in attributes(metrics)}
    lock, mtu = told.pop(_RTAX_LOCK, 0), told.pop(_RTAX_MTU, None)
    return mtu, not told and lock == (0 if mtu is None else 1 << _RTAX_MTU)


def _gateway(gateway: Address, version: int) -> bytes:
    """Of the family of the route or of the other (RTA_VIA), which only IPv4 routes may have."""
    if gateway.version == version:
        return attribute(_RTA_GATEWAY, gateway.packed)
    return attribute(_RTA_VIA, struct.pack("=H", FAMILIES[gateway.version]) + gateway.packed)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def integer(value: bytes | None) -> int:
    """A number in the machine's own order, 0 where none is told."""
    return int.from_bytes(value or b"", sys.byteorder)


def _hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


@lru_cache(_KNOWN)
def read_ip(packed: bytes | None) -> Address | None:
    """An address, None where none is told."""
    if not packed:
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


@lru_cache(_KNOWN)
def _network(family: int, packed: bytes | None, length: int) -> Network:
    form = IPv4Network if family == socket.AF_INET else IPv6Network
    return form((packed or 0, length))


def _info(kind: str, data: bytes) -> bytes:
    body = attribute(_INFO_KIND, kind.encode() + b"\0")
    return attribute(_IFLA_LINKINFO, body + (attribute(_INFO_DATA, data) if data else b""))
