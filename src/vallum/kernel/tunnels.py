"""Tunnel devices as messages: packed to be made or changed, and read with every property that we set. Pure.

After linux/if_link.h and if_tunnel.h. A property is either fixed, and then a device that has another value is made
anew, or live, and then it is set. What it ignores: addresses on the device, and its offloads, which no message tells.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vallum.kernel import rtmessages
from vallum.kernel.netlink import attribute, attributes
from vallum.kernel.rtmessages import Link, integer, read_ip
from vallum.model.wiring import Device, Vxlan

Properties = Mapping[str, object]
"""What a person calls it -> its value."""

UP, MAC, MTU, LOCAL, LEARNING, RP_FILTER, OFFLOAD = (
    *("up", "MAC", "MTU", "local address", "learning", "rp_filter", "checksum offload"),
)
KIND, VNI, PORT, FAMILY, BESIDE = "kind", "VNI", "port", "family", "further settings"
LOOSE = 2
"""Reverse path filter: peers' own addresses come by other links too, and what may come out is the gate's to say."""

_LINKINFO, _INFO_KIND, _INFO_DATA = 18, 1, 2
_ID, _GROUP, _LINK, _LOCAL4, _LEARNING, _PORT, _GROUP6, _LOCAL6 = 1, 2, 3, 4, 7, 15, 16, 17
_PROXY, _RSC, _L2MISS, _L3MISS, _CHECKSUM = 11, 12, 13, 14, 18
_ALTERING = (_PROXY, _RSC, _L2MISS, _L3MISS, 19, 20, 21, 22, 25, 27, 28, 30)
"""Settings that change what goes over the wire or who answers: off in ours (zero checksums, remcsum, metadata, ...)."""
_PRESENT = (23, 24)
"""Flags (GBP, remcsum without partial): on where the attribute is there at all."""
_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_TTL, _IPTUN_PROTO, _IPTUN_PMTUDISC, _IPTUN_METADATA = 2, 3, 4, 9, 10, 19
_TTL, _IPIP = 64, 4


@dataclass(frozen=True, slots=True)
class HeldDevice:
    """A link as it was read."""

    link: Link
    fixed: Properties
    live: Properties


def wanted(device: Device) -> tuple[Properties, Properties]:
    """The fixed and the live properties that it must have."""
    live: dict[str, object] = {UP: True, MTU: device.mtu, LOCAL: device.local, RP_FILTER: LOOSE}
    if isinstance(device, Vxlan):
        fixed = {KIND: "vxlan", VNI: device.vni, PORT: device.port, FAMILY: device.local.version, BESIDE: False}
        return fixed, live | {MAC: device.mac.lower(), LEARNING: False, OFFLOAD: device.checksum}
    return {KIND: "ipip", BESIDE: False}, live


def made(device: Device) -> bytes:
    """The whole device as one message, so that it never has another MAC and nobody meets it half made."""
    mac = device.mac if isinstance(device, Vxlan) else None
    return rtmessages.link(up=True, name=device.name, mac=mac, mtu=device.mtu, info=_info(device, anew=True))


def unset(device: Device) -> frozenset[str]:
    """The live properties that a device which was just made still lacks."""
    without = isinstance(device, Vxlan) and not device.checksum
    return frozenset({RP_FILTER, OFFLOAD} if without else {RP_FILTER})


def changed(device: Device, index: int, what: frozenset[str]) -> Iterator[bytes]:
    """These live properties and no other: a MAC that is set, even to what it was, loses every neighbour."""
    if what & {LOCAL, LEARNING}:  # by itself: vxlan refuses an MTU in the same message
        yield rtmessages.link(index, info=_info(device, anew=False))
    mac = device.mac if isinstance(device, Vxlan) and MAC in what else None
    up, mtu = True if UP in what else None, device.mtu if MTU in what else None
    if (up, mac, mtu) != (None, None, None):
        yield rtmessages.link(index, up=up, mac=mac, mtu=mtu)


def read(data: bytes, offload: bool | None) -> HeldDevice:
    """A device from the message of its link. `offload`: whether checksums are, which only an ioctl tells."""
    link = rtmessages.read_link(data)
    kind, told = _told(data)
    _, rp_filter = rtmessages.read_rp_filter(data)
    live: dict[str, object] = {UP: link.up, MTU: link.mtu, RP_FILTER: rp_filter}
    if kind == "vxlan":
        local = read_ip(told.get(_LOCAL4) or told.get(_LOCAL6))
        fixed = {KIND: kind, **_vxlan_fixed(told), BESIDE: _vxlan_beside(told)}
        learning = bool(integer(told.get(_LEARNING)))
        return HeldDevice(link, fixed, live | {LOCAL: local, MAC: link.mac, LEARNING: learning, OFFLOAD: offload})
    if kind == "ipip":
        local = read_ip(told.get(_IPTUN_LOCAL))
        return HeldDevice(link, {KIND: kind, BESIDE: _ipip_beside(told)}, live | {LOCAL: local})
    return HeldDevice(link, {KIND: kind}, live)


def clashes(held: HeldDevice, device: Device) -> bool:
    """Reports whether the kernel refuses the one because it has the other: it tells them apart by nothing else."""
    fixed, live = wanted(device)
    if fixed[KIND] == "vxlan":
        return all(held.fixed.get(name) == fixed[name] for name in (KIND, VNI, PORT, FAMILY))
    return held.fixed.get(KIND) == "ipip" and held.live.get(LOCAL) == live[LOCAL] and not held.fixed.get(BESIDE)


def _info(device: Device, *, anew: bool) -> bytes:
    if isinstance(device, Vxlan):
        local = _LOCAL4 if device.local.version == 4 else _LOCAL6
        data = attribute(local, device.local.packed) + attribute(_LEARNING, b"\0")
        if anew:  # the kernel refuses these for a device that is there, even unchanged
            data += attribute(_ID, struct.pack("=I", device.vni)) + attribute(_PORT, struct.pack("!H", device.port))
            data += attribute(_CHECKSUM, b"\1")
        kind = "vxlan"
    else:
        data = attribute(_IPTUN_LOCAL, device.local.packed) + attribute(_IPTUN_TTL, bytes([_TTL]))
        data += attribute(_IPTUN_PMTUDISC, b"\1") + attribute(_IPTUN_PROTO, bytes([_IPIP]))
        kind = "ipip"
    return attribute(_LINKINFO, attribute(_INFO_KIND, kind.encode() + b"\0") + attribute(_INFO_DATA, data))


def _told(data: bytes) -> tuple[str, dict[int, bytes]]:
    """The kind of a link, empty for hardware, and what is told of this kind."""
    head = 32
    info = dict(attributes(dict(attributes(data[head:])).get(_LINKINFO, b"")))
    return info.get(_INFO_KIND, b"").rstrip(b"\0").decode(), dict(attributes(info.get(_INFO_DATA, b"")))


def _vxlan_fixed(told: Mapping[int, bytes]) -> dict[str, object]:
    """Without a local address the device is told of by the family of its group, or speaks IPv4."""
    six = _LOCAL6 in told or _GROUP6 in told
    port = int.from_bytes(told.get(_PORT, b""))
    return {VNI: integer(told.get(_ID)), PORT: port, FAMILY: 6 if six else 4}


def _vxlan_beside(told: Mapping[int, bytes]) -> bool:
    """Reports whether it has what ours have not: a place to flood to, a link it is bound to, other rules."""
    bound = any(integer(told.get(kind)) for kind in (_GROUP, _GROUP6, _LINK, *_ALTERING))
    return bound or any(kind in told for kind in _PRESENT) or not integer(told.get(_CHECKSUM))


def _ipip_beside(told: Mapping[int, bytes]) -> bool:
    other = integer(told.get(_IPTUN_REMOTE)) or _IPTUN_METADATA in told
    return bool(other) or integer(told.get(_IPTUN_PROTO)) != _IPIP or not integer(told.get(_IPTUN_PMTUDISC))
