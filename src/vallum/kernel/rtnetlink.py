"""Links, addresses, routes and neighbours of one network namespace, in typed calls on pyroute2's messages.

An `Rtnetlink` works for good in the namespace where it was opened, whatever its thread enters later. Names, not
indexes, at the face. What it ignores: other tables than main, rules, nexthop objects, traffic control.
"""

import ipaddress
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from vallum.kernel.netlink import CREATE, EXCL, REPLACE, Netlink, attribute, attributes
from vallum.model.address import Address, Network, Packed, pack
from vallum.model.wiring import Route

Interface = IPv4Interface | IPv6Interface

STATIC = 4
"""rtm_protocol of routes an administrator wrote."""

_KERNEL = 2

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_MAIN, _UNICAST, _PERMANENT, _NODAD = 254, 1, 0x80, 0x02
_SCOPE_GLOBAL, _SCOPE_LINK = 0, 253
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADER = 16

# pyroute2 has no form for writing IFLA_AF_SPEC, and decodes every statistic of a link, 0.2 ms each.
_LINK = struct.Struct("=BxHiII")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_AF_SPEC, _IFLA_INET_CONF = 1, 3, 26, 1
_NESTED = 0x8000
_RP_FILTER = 8
"""IPV4_DEVCONF_RP_FILTER. Written under this number; in what is read, an array, it is the element before."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `running`: up, with a carrier, and its queue takes packets."""

    name: str
    index: int
    mac: str
    up: bool
    running: bool


@dataclass(frozen=True, slots=True)
class HeldRoute:
    """A unicast route of the main table as it was read. `plain`: one next hop, which `route` tells in full."""

    route: Route
    protocol: int
    metric: int
    plain: bool = True


class Rtnetlink(Netlink):
    """Every call raises RequestError (a KernelError) with the operation and the kernel's reason."""

    # Links

    def links(self) -> tuple[Link, ...]:
        return tuple(_link(data) for data in self.dump("read links", _GETLINK, _LINK.pack(0, 0, 0, 0, 0)))

    def link(self, name: str) -> Link:
        body = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        data = self.request(f"read link {name}", _GETLINK, body)
        assert data is not None
        return _link(data)

    def add_veth(
        self, name: str, peer: str, *, peer_namespace: int | None = None, mac: str, peer_mac: str, mtu: int
    ) -> None:
        """A pair: this end here and up, the other born down in the namespace of that descriptor."""
        other = _message(ifinfmsg, IFLA_IFNAME=peer, IFLA_ADDRESS=peer_mac, IFLA_MTU=mtu, IFLA_NET_NS_FD=peer_namespace)
        info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", other)]})]
        message = _message(ifinfmsg, IFLA_IFNAME=name, IFLA_ADDRESS=mac, IFLA_MTU=mtu, IFLA_LINKINFO={"attrs": info})
        message["flags"] = message["change"] = _IFF_UP
        self.request(f"make link {name}", _NEWLINK, message, CREATE | EXCL)

    def add_bridge(self, name: str, mac: str) -> None:
        """A bridge, up, that learns no multicast groups: the lab's few ports hear everything."""
        data = {"attrs": [("IFLA_BR_MCAST_SNOOPING", 0)]}
        info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
        message = _message(ifinfmsg, IFLA_IFNAME=name, IFLA_ADDRESS=mac, IFLA_LINKINFO=info)
        message["flags"] = message["change"] = _IFF_UP
        self.request(f"make bridge {name}", _NEWLINK, message, CREATE | EXCL)

    def delete_link(self, name: str) -> None:
        self.request(f"delete link {name}", _DELLINK, _message(ifinfmsg, IFLA_IFNAME=name))

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        mac: str | None = None,
        mtu: int | None = None,
        rename: str | None = None,
        bridge: str | None = None,
    ) -> None:
        """Change what is given and leave the rest. A link must be down to be renamed on older kernels."""
        message = _message(
            ifinfmsg,
            IFLA_ADDRESS=mac,
            IFLA_MTU=mtu,
            IFLA_IFNAME=rename,
            IFLA_MASTER=None if bridge is None else self.link(bridge).index,
        )
        message["index"] = self.link(name).index
        if up is not None:
            message["change"] = _IFF_UP
            message["flags"] = _IFF_UP if up else 0
        self.request(f"set link {name}", _SETLINK, message)

    # Addresses and neighbours

    def add_address(self, device: str, address: Interface) -> None:
        """Without duplicate address detection: it would hold an IPv6 address back for a second."""
        message = self._address(device, address, IFA_FLAGS=_NODAD if address.version == 6 else None)
        self.request(f"add address {address} to {device}", _NEWADDR, message, CREATE | EXCL)

    def delete_address(self, device: str, address: Interface) -> None:
        self.request(f"delete address {address} of {device}", _DELADDR, self._address(device, address))

    def local_addresses(self) -> frozenset[Packed]:
        """Own addresses, link-local ones too; not those of loopback, which no packet from outside can have."""
        found = set()
        for data in self.dump("read addresses", _GETADDR, _message(ifaddrmsg)):
            message = _decoded(ifaddrmsg, data)
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            if text and not (address := ipaddress.ip_address(text)).is_loopback:
                found.add(pack(address))
        return frozenset(found)

    def add_neighbour(self, device: str, address: Address, mac: str) -> None:
        """A permanent entry, so that nobody is asked for this address. Replaces what was there."""
        message = _message(ndmsg, NDA_DST=str(address), NDA_LLADDR=mac)
        message["family"] = _FAMILIES[address.version]
        message["ifindex"] = self.link(device).index
        message["state"] = _PERMANENT
        self.request(f"add neighbour {address} on {device}", _NEWNEIGH, message, CREATE | REPLACE)

    # Routes of the main table

    def add_route(self, route: Route, *, protocol: int = STATIC, onlink: bool = False) -> None:
        """Fails if there is one to this destination. `onlink`: the gateway is there, though no route says so."""
        message = self._route(route, protocol, onlink=onlink)
        self.request(f"add route {show(route)}", _NEWROUTE, message, CREATE | EXCL)

    def replace_route(self, route: Route, *, protocol: int = STATIC) -> None:
        """Whatever program's route to this destination stood there before."""
        self.request(f"replace route {show(route)}", _NEWROUTE, self._route(route, protocol), CREATE | REPLACE)

    def delete_route(self, destination: Network, *, protocol: int, metric: int = 0) -> None:
        """Delete the route with this owner and metric. Raises RequestError, errno ESRCH, if there is none."""
        message = _message(rtmsg, RTA_DST=str(destination.network_address), RTA_PRIORITY=metric or None)
        _fill_route(message, destination, protocol)
        message["scope"] = 255  # RT_SCOPE_NOWHERE: any
        self.request(f"delete route {destination}", _DELROUTE, message)

    def routes(self) -> tuple[HeldRoute, ...]:
        """The unicast routes of the main table, both families."""
        names = {link.index: link.name for link in self.links()}
        found = []
        for family in _FAMILIES.values():
            query = _message(rtmsg)
            query["family"], query["table"] = family, _MAIN
            held = (_decoded(rtmsg, data) for data in self.dump("read routes", _GETROUTE, query))
            found += [_held(message, names) for message in held if message["type"] == _UNICAST]
        return tuple(found)

    def host_routes(self) -> dict[Packed, str]:
        """Address -> device for each /32 and /128 on link: how a local pod's interface is found."""
        found = {}
        for held in self.routes():
            route = held.route
            single = route.destination.num_addresses == 1 and route.gateway is None
            if single and route.device and held.protocol != _KERNEL:  # the kernel's own: an address of ours
                found[pack(route.destination.network_address)] = route.device
        return found

    # Reverse path filter

    def set_rp_filter(self, device: str, value: int) -> None:
        """0 off, 1 strict, 2 loose. Needs CAP_NET_ADMIN only, where /proc/sys may be read-only."""
        setting = attribute(_RP_FILTER, struct.pack("=I", value))
        for kind in (_IFLA_INET_CONF, socket.AF_INET, _IFLA_AF_SPEC):
            setting = attribute(kind | _NESTED, setting)
        body = _LINK.pack(0, 0, self.link(device).index, 0, 0) + setting
        self.request(f"set rp_filter={value} on {device}", _SETLINK, body)

    def rp_filters(self) -> dict[str, int]:
        """The setting of each interface itself; the kernel uses the greater of it and conf.all's."""
        data = self.dump("read links", _GETLINK, _LINK.pack(0, 0, 0, 0, 0))
        read = {_link(one).name: _rp_filter(one) for one in data}
        return {name: value for name, value in read.items() if value is not None}

    def _address(self, device: str, address: Interface, **attrs: Any) -> Any:
        text = str(address.ip)
        message = _message(ifaddrmsg, IFA_LOCAL=text, IFA_ADDRESS=text, **attrs)
        message["family"] = _FAMILIES[address.version]
        message["prefixlen"] = address.network.prefixlen
        message["index"] = self.link(device).index
        return message

    def _route(self, route: Route, protocol: int, *, onlink: bool = False) -> Any:
        message = _message(
            rtmsg,
            RTA_DST=str(route.destination.network_address),
            RTA_GATEWAY=None if route.gateway is None else str(route.gateway),
            RTA_OIF=None if route.device is None else self.link(route.device).index,
        )
        _fill_route(message, route.destination, protocol)
        on_link = route.gateway is None and route.destination.version == 4
        message["scope"] = _SCOPE_LINK if on_link else _SCOPE_GLOBAL
        message["flags"] = 4 if onlink else 0  # RTNH_F_ONLINK
        return message


def show(route: Route) -> str:
    """As `ip route` writes it."""
    via = f" via {route.gateway}" if route.gateway is not None else ""
    return f"{route.destination}{via}" + (f" dev {route.device}" if route.device is not None else "")


def _message(form: Any, **attrs: Any) -> Any:
    message = form()
    message["attrs"] = [(name, value) for name, value in attrs.items() if value is not None]
    return message


def _decoded(form: Any, data: bytes) -> Any:
    message = form(data)
    message.decode()
    return message


def _fill_route(message: Any, destination: Network, protocol: int) -> None:
    message["family"] = _FAMILIES[destination.version]
    message["dst_len"] = destination.prefixlen
    message["table"], message["type"], message["proto"] = _MAIN, _UNICAST, protocol


def _held(message: Any, names: dict[int, str]) -> HeldRoute:
    version = 4 if message["family"] == socket.AF_INET else 6
    nowhere = "0.0.0.0" if version == 4 else "::"  # noqa: S104 - the default route's destination
    destination = ipaddress.ip_network(f"{message.get_attr('RTA_DST') or nowhere}/{message['dst_len']}")
    gateway = message.get_attr("RTA_GATEWAY")
    route = Route(
        destination,
        None if gateway is None else ipaddress.ip_address(gateway),
        names.get(message.get_attr("RTA_OIF")),
    )
    plain = message.get_attr("RTA_MULTIPATH") is None and message.get_attr("RTA_VIA") is None
    return HeldRoute(route, message["proto"], message.get_attr("RTA_PRIORITY") or 0, plain)


def _link(data: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(data, _HEADER)
    found = dict(attributes(data[_HEADER + _LINK.size :]))
    name = found[_IFLA_IFNAME].rstrip(b"\0").decode()
    mac = found.get(_IFLA_ADDRESS, b"").hex(":")
    return Link(name, index, mac, bool(flags & _IFF_UP), bool(flags & _IFF_RUNNING))


def _rp_filter(data: bytes) -> int | None:
    value: bytes | None = data[_HEADER + _LINK.size :]
    for kind in (_IFLA_AF_SPEC, socket.AF_INET, _IFLA_INET_CONF):
        value = dict(attributes(value)).get(kind) if value is not None else None
    if value is None:
        return None
    (setting,) = struct.unpack_from("=I", value, 4 * (_RP_FILTER - 1))
    return int(setting)
