"""Devices, routes and entries as data: what a network back end wants, and what the kernel was read to hold."""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from vallum.model.address import Address, Network

ROUTE_PROTOCOL = 86
"""rtm_protocol of every route of ours (unassigned in /etc/iproute2/rt_protos): how we know ours from others'."""

DEVICE_PREFIX = "vallum."
"""Every tunnel device of ours begins with it; what begins with it is ours to change and to remove."""

GATEWAYS: dict[int, Address] = {4: ip_address("169.254.1.1"), 6: ip_address("fe80::1")}
"""On link in every pod, held by nobody: a permanent neighbour makes it the node's end of the pod's link."""

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table.

    Attributes:
        gateway: None: on link.
        device: None: found by the gateway.
        onlink: the gateway is there although no route says so.
        source: of packets of the node itself that leave by this route; None: the kernel chooses.
        mtu: in bytes, locked; None: that of the device.
    """

    destination: Network
    gateway: Address | None = None
    device: str | None = None
    onlink: bool = False
    source: Address | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A vxlan device (RFC 7348), up, that learns nothing and floods nothing.

    Attributes:
        local: the outer source; its family is that of all outer packets.
        checksum: outer UDP checksums are offloaded to the link; off where a link writes bad ones.
        addresses: of the node on this device, /32 and /128.
    """

    name: str
    vni: int
    port: int
    mac: str
    mtu: int
    local: Address
    checksum: bool = True
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Ipip:
    """A device for IPv4 in IPv4 (RFC 2003), up: the kernel's own, or a pair of links with programs (`driver`)."""

    name: str
    driver: str
    mtu: int
    local: Address
    addresses: tuple[Interface, ...] = ()


Device = Vxlan | Ipip


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour on a device of ours."""

    device: str
    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A permanent forwarding entry of a vxlan device: frames to this MAC go to that outer address."""

    device: str
    mac: str
    remote: Address


@dataclass(frozen=True, slots=True)
class Carried:
    """On an ipip device: packets to these inner addresses go to that outer one."""

    device: str
    inner: Network
    remote: Address


@dataclass(frozen=True, slots=True)
class Origin:
    """What comes out of a tunnel device may have these inner sources, when it came from that outer address."""

    device: str
    outer: Address
    inner: Network


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Packets from `sources` to anywhere but `inside` leave with an address of the node."""

    sources: tuple[Network, ...]
    inside: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a back end could not plan, for the status of this node. `subject` is what it is about."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """What must exist in the kernel for nodes to reach each other. Nothing of ours but this may stand there."""

    routes: frozenset[Route] = frozenset()
    problems: tuple[Problem, ...] = ()
    devices: frozenset[Device] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwards: frozenset[Forward] = frozenset()
    carried: frozenset[Carried] = frozenset()
    origins: frozenset[Origin] = frozenset()
    masquerade: Masquerade | None = None
    mtu: int | None = None
    """Of the links of pods; None: that of the link by which the node reaches others."""
