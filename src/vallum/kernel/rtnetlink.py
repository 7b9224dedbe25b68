"""Links, addresses, routes and neighbours of one network namespace, in typed calls.

An `Rtnetlink` works for good in the namespace where it was opened, whatever its thread enters later. Names, not
indexes, at the face. What it ignores: other tables than main, rules, nexthop objects, traffic control.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vallum.kernel import rtmessages
from vallum.kernel.netlink import CREATE, EXCL, REPLACE, Netlink
from vallum.kernel.rtmessages import FAMILIES, Interface, Link, RouteTold
from vallum.model.address import Address, Network, Packed, pack
from vallum.model.wiring import Route

__all__ = ["STATIC", "HeldRoute", "Interface", "Link", "Rtnetlink", "show"]

STATIC = 4
"""rtm_protocol of routes an administrator wrote."""


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
        return tuple(map(rtmessages.read_link, self.dump("read links", rtmessages.GETLINK, rtmessages.links())))

    def link(self, name: str) -> Link:
        data = self.request(f"read link {name}", rtmessages.GETLINK, rtmessages.link(name=name))
        assert data is not None
        return rtmessages.read_link(data)

    def add_veth(
        self, name: str, peer: str, *, peer_namespace: int | None = None, mac: str, peer_mac: str, mtu: int
    ) -> None:
        """A pair: this end here and up, the other born down in the namespace of that descriptor."""
        other = rtmessages.link(name=peer, mac=peer_mac, mtu=mtu, namespace=peer_namespace)
        message = rtmessages.link(up=True, name=name, mac=mac, mtu=mtu, info=rtmessages.veth(other))
        self.request(f"make link {name}", rtmessages.NEWLINK, message, CREATE | EXCL)

    def add_bridge(self, name: str, mac: str) -> None:
        """A bridge, up, that learns no multicast groups: the lab's few ports hear everything."""
        message = rtmessages.link(up=True, name=name, mac=mac, info=rtmessages.bridge(snooping=False))
        self.request(f"make bridge {name}", rtmessages.NEWLINK, message, CREATE | EXCL)

    def delete_link(self, name: str) -> None:
        self.request(f"delete link {name}", rtmessages.DELLINK, rtmessages.link(name=name))

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        mac: str | None = None,
        mtu: int | None = None,
        rename: str | None = None,
        bridge: str | None = None,
        alias: str | None = None,
    ) -> None:
        """Change what is given and leave the rest. A link must be down to be renamed on older kernels."""
        master = None if bridge is None else self.link(bridge).index
        index = self.link(name).index
        message = rtmessages.link(index, up=up, name=rename, mac=mac, mtu=mtu, alias=alias, master=master)
        self.request(f"set link {name}", rtmessages.SETLINK, message)

    # Addresses and neighbours

    def add_address(self, device: str, address: Interface) -> None:
        """Without duplicate address detection: it would hold an IPv6 address back for a second."""
        message = rtmessages.address(self.link(device).index, address, detected=address.version == 4)
        self.request(f"add address {address} to {device}", rtmessages.NEWADDR, message, CREATE | EXCL)

    def delete_address(self, device: str, address: Interface) -> None:
        message = rtmessages.address(self.link(device).index, address)
        self.request(f"delete address {address} of {device}", rtmessages.DELADDR, message)

    def local_addresses(self) -> frozenset[Packed]:
        """Own addresses, link-local ones too; not those of loopback, which no packet from outside can have."""
        held = self._addresses("read addresses")
        return frozenset(pack(own.ip) for _, own in held if not own.ip.is_loopback)

    def addresses(self, device: str) -> frozenset[Interface]:
        """The addresses of one interface, link-local ones too."""
        index = self.link(device).index
        held = self._addresses(f"read addresses of {device}", index)
        return frozenset(own for at, own in held if at == index)  # kernels before 4.20 tell of all

    def add_neighbour(self, device: str, address: Address, mac: str) -> None:
        """A permanent entry, so that nobody is asked for this address. Replaces what was there."""
        message = rtmessages.neighbour(self.link(device).index, address, mac)
        self.request(f"add neighbour {address} on {device}", rtmessages.NEWNEIGH, message, CREATE | REPLACE)

    def neighbours(self, device: str) -> dict[Address, str]:
        """The permanent entries of one interface and their MACs."""
        index = self.link(device).index
        query = rtmessages.neighbours(index=index)
        held = map(rtmessages.read_neighbour, self.dump(f"read neighbours on {device}", rtmessages.GETNEIGH, query))
        return {each.address: each.mac for each in held if each.address and each.index == index and each.permanent}

    # Routes of the main table

    def add_route(self, route: Route, *, protocol: int = STATIC) -> None:
        """Fails if there is one to this destination."""
        message = self._route(route, protocol)
        self.request(f"add route {show(route)}", rtmessages.NEWROUTE, message, CREATE | EXCL)

    def add_unreachable(self, destination: Network, *, protocol: int = STATIC) -> None:
        """What no longer route leads to is answered as unreachable, instead of following a shorter one."""
        scope, kind = rtmessages.SCOPE_GLOBAL, rtmessages.UNREACHABLE
        message = rtmessages.route(destination, protocol, scope=scope, kind=kind)
        self.request(f"add unreachable {destination}", rtmessages.NEWROUTE, message, CREATE | EXCL)

    def replace_route(self, route: Route, *, protocol: int = STATIC) -> None:
        """Whatever program's route to this destination stood there before."""
        message = self._route(route, protocol)
        self.request(f"replace route {show(route)}", rtmessages.NEWROUTE, message, CREATE | REPLACE)

    def delete_route(self, destination: Network, *, protocol: int, metric: int = 0) -> None:
        """Delete the route with this owner and metric. Raises RequestError, errno ESRCH, if there is none."""
        anywhere = rtmessages.SCOPE_NOWHERE
        message = rtmessages.route(destination, protocol, scope=anywhere, metric=metric)
        self.request(f"delete route {destination}", rtmessages.DELROUTE, message)

    def routes(self, device: str | None = None) -> tuple[HeldRoute, ...]:
        """The unicast routes of the main table, both families; those through `device` alone where it is given."""
        links = self.links() if device is None else (self.link(device),)
        names = {link.index: link.name for link in links}
        index = None if device is None else links[0].index
        found = []
        for version in FAMILIES:
            held = self.dump("read routes", rtmessages.GETROUTE, rtmessages.routes(version, index))
            found += [held_route(told, names) for told in map(rtmessages.read_route, held) if told.unicast]
        return tuple(one for one in found if device in {None, one.route.device})

    def link_to(self, address: Address) -> Link:
        """The interface by which a packet to this address would leave. Raises RequestError where none would."""
        data = self.request(f"look up the route to {address}", rtmessages.GETROUTE, rtmessages.way_to(address))
        assert data is not None
        index = rtmessages.read_route(data).index
        found = self.request(f"read link {index}", rtmessages.GETLINK, rtmessages.link(index or 0))
        assert found is not None
        return rtmessages.read_link(found)

    def host_routes(self) -> dict[Packed, str]:
        """Address -> device for each /32 and /128 on link: how a local pod's interface is found."""
        # every new pod waits for this, and a node has two routes a pod: they are read without making objects of them
        names = dict(map(rtmessages.read_name, self.dump("read links", rtmessages.GETLINK, rtmessages.links())))
        found = {}
        for version in FAMILIES:
            for data in self.dump("read routes", rtmessages.GETROUTE, rtmessages.routes(version, None)):
                told = rtmessages.read_host_route(data)
                if told is not None and told[1] in names:
                    found[told[0]] = names[told[1]]
        return found

    # Reverse path filter

    def set_rp_filter(self, device: str, value: int) -> None:
        """0 off, 1 strict, 2 loose. Needs CAP_NET_ADMIN only, where /proc/sys may be read-only."""
        message = rtmessages.rp_filter(self.link(device).index, value)
        self.request(f"set rp_filter={value} on {device}", rtmessages.SETLINK, message)

    def rp_filters(self) -> dict[str, int]:
        """The setting of each interface itself; the kernel uses the greater of it and conf.all's."""
        read = map(rtmessages.read_rp_filter, self.dump("read links", rtmessages.GETLINK, rtmessages.links()))
        return {name: value for name, value in read if value is not None}

    def _addresses(self, operation: str, index: int = 0) -> Iterator[tuple[int, Interface]]:
        for version in FAMILIES:
            held = self.dump(operation, rtmessages.GETADDR, rtmessages.addresses(version, index))
            yield from map(rtmessages.read_address, held)

    def _route(self, route: Route, protocol: int) -> bytes:
        return pack_route(route, protocol, None if route.device is None else self.link(route.device).index)


def show(route: Route) -> str:
    """As `ip route` writes it."""
    words = [str(route.destination)]
    words += [f"via {route.gateway}"] if route.gateway is not None else []
    words += [f"dev {route.device}"] if route.device is not None else []
    words += [f"src {route.source}"] if route.source is not None else []
    words += [f"mtu lock {route.mtu}"] if route.mtu is not None else []
    return " ".join([*words, "onlink"] if route.onlink else words)


def pack_route(route: Route, protocol: int, index: int | None) -> bytes:
    """The message that makes this route. `index`: of its device, if it names one."""
    on_link = route.gateway is None and route.destination.version == 4
    return rtmessages.route(
        route.destination,
        protocol,
        scope=rtmessages.SCOPE_LINK if on_link else rtmessages.SCOPE_GLOBAL,
        gateway=route.gateway,
        index=index,
        flags=rtmessages.ONLINK if route.onlink else 0,
        source=route.source,
        mtu=route.mtu,
    )


def held_route(told: RouteTold, names: Mapping[int, str]) -> HeldRoute:
    """A route with the name of its device."""
    device = None if told.index is None else names.get(told.index)
    route = Route(told.destination, told.gateway, device, told.onlink, told.source, told.mtu)
    return HeldRoute(route, told.protocol, told.metric, told.plain)
