"""The namespaces, links and routes of one seat: pods on one node, or on two nodes with a router between them.

As in every network of this project a pod has a /32 (or /128) and an on-link gateway. Neighbours are fixed, so
that no address resolution falls into a request that is timed. What is ignored: who takes it away; the sandbox does.
"""

import os
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import ip_interface, ip_network

from vallum.kernel import netns, sysctl
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.bench.shapes import Ends
from vallum.model.address import Address, Network
from vallum.model.objects import Node, Pod
from vallum.model.wiring import GATEWAYS, Route

UPLINK = "uplink"
"""A node's end of its link to the router, whose own end there has the node's name."""
_MTU = 1500
_DEFAULTS = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_FORWARD = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
# the machine's own IPv4 settings are inherited, and a source check of its own would be in every figure
_SETTINGS = {
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/accept_ra": 0,
}


def place(seat: str, name: str) -> str:
    """The network namespace of a node, a pod or the router of a seat."""
    return f"{seat}-{name}"


def router_of(node: Node) -> Address:
    """The router's address on the link of a node."""
    return node.addresses[0] + 1


def outer(pod: Pod) -> str:
    """The node's end of a pod's link."""
    return f"v-{pod.id.name}"


def build(seat: str, ends: Ends, *, known: bool = True) -> None:
    """Make everything of a seat. `known`: the router has routes to the pods. Raises KernelError."""
    several = len(ends.nodes) > 1
    routers = [place(seat, node.name) for node in ends.nodes] + [place(seat, "router")] * several
    for name in routers:
        _make(name, _SETTINGS | {_FORWARD[ends.address.version]: 1})
    for pod in (ends.client, ends.server):
        _plug_pod(seat, pod)
    for node in ends.nodes if several else ():
        _plug_node(seat, node, (ends.client, ends.server) if known else ())


def _make(name: str, settings: dict[str, int]) -> None:
    netns.create(name)
    with netns.entered(name):
        for key, value in settings.items():
            sysctl.write(key, value)


def _plug_pod(seat: str, pod: Pod) -> None:
    inside, address = place(seat, pod.id.name), pod.addresses[0]
    _make(inside, _SETTINGS)
    near, far = _mac(seat, f"{inside} near"), _mac(seat, f"{inside} far")
    gateway, alone = GATEWAYS[address.version], _alone(address)
    with _rtnetlink(place(seat, pod.node or "")) as node:
        _add_veth(node, outer(pod), inside, "eth0", (near, far))
        node.add_route(Route(alone, device=outer(pod)))
        node.add_neighbour(outer(pod), address, far)
    with _rtnetlink(inside) as own:
        own.add_address("eth0", ip_interface(alone))
        own.set_link("eth0", up=True)
        own.add_route(Route(_DEFAULTS[address.version], gateway, "eth0", onlink=True))
        own.add_neighbour("eth0", gateway, near)


def _plug_node(seat: str, node: Node, known: Iterable[Pod]) -> None:
    """A link from a node to the router, which learns the way to these pods where they are on this node."""
    here, router, address = place(seat, node.name), place(seat, "router"), node.addresses[0]
    near, far = _mac(seat, f"{here} near"), _mac(seat, f"{here} far")
    gateway, length = router_of(node), address.max_prefixlen - 2
    with _rtnetlink(here) as own:
        _add_veth(own, UPLINK, router, node.name, (near, far))
        own.add_address(UPLINK, ip_interface((address, length)))
        own.add_neighbour(UPLINK, gateway, far)
        own.add_route(Route(_DEFAULTS[address.version], gateway, UPLINK))
    with _rtnetlink(router) as far_end:
        far_end.add_address(node.name, ip_interface((gateway, length)))
        far_end.set_link(node.name, up=True)
        far_end.add_neighbour(node.name, address, near)
        for pod in known:
            if pod.node == node.name:
                far_end.add_route(Route(_alone(pod.addresses[0]), address, node.name))


def _add_veth(here: Rtnetlink, name: str, there: str, peer: str, macs: tuple[str, str]) -> None:
    descriptor = netns.open_namespace(there)
    try:
        here.add_veth(name, peer, peer_namespace=descriptor, mac=macs[0], peer_mac=macs[1], mtu=_MTU)
    finally:
        os.close(descriptor)


def _rtnetlink(where: str) -> Rtnetlink:
    with netns.entered(where):
        return Rtnetlink()


def _alone(address: Address) -> Network:
    return ip_network((address, address.max_prefixlen))


def _mac(*parts: str) -> str:
    """A local unicast address of its own for each end of a link."""
    return "02:" + blake2b(" ".join(parts).encode(), digest_size=5).digest().hex(":")
