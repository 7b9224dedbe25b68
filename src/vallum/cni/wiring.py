"""The link of one pod: a veth pair, single addresses, and ways in and out that ask nobody for a MAC.

No bridge: the node routes to the pod's /32 and /128 by the link itself, the pod leads everything to a gateway that no
machine holds, and permanent neighbours at both ends say who is meant. The pod's end is born down and stays so until its
rules stand (stance 17). Each function blocks for a few milliseconds and raises KernelError.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ENODEV
from ipaddress import ip_address, ip_interface, ip_network

from vallum.cni import attached
from vallum.cni.result import CniError, Code
from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import Link, Rtnetlink, show
from vallum.model.address import Address
from vallum.model.attachment import PodAttachment
from vallum.model.errors import KernelError
from vallum.model.wiring import GATEWAYS, Route

_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_FAR = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
"""Of documentation: whatever leads there is the way out of this node."""
_USUAL_MTU = 1500


@dataclass(frozen=True, slots=True)
class Plan:
    """Both ends of a pod's link. An empty `mac` or an `mtu` of 0 is one that CHECK has nothing to compare with."""

    interface: str
    host_mac: str
    ifname: str
    mac: str
    mtu: int
    addresses: tuple[Address, ...]


def lay(host: Rtnetlink, inside: Rtnetlink, namespace: int, plan: Plan) -> None:
    """Everything but the pod's way out; the pod's end stays down. What was made before an error is left for `clear`."""
    host.add_veth(
        plan.interface, plan.ifname, peer_namespace=namespace, mac=plan.host_mac, peer_mac=plan.mac, mtu=plan.mtu
    )
    for address in plan.addresses:
        host.add_neighbour(plan.interface, address, plan.mac)
        host.add_route(_way_in(plan, address))
        inside.add_address(plan.ifname, ip_interface(address))


def let_loose(inside: Rtnetlink, plan: Plan) -> None:
    """The pod's end up, with its way out: from now on it is heard."""
    inside.set_link(plan.ifname, up=True)
    for route in _ways_out(plan):
        assert route.gateway is not None
        inside.add_neighbour(plan.ifname, route.gateway, plan.host_mac)
        inside.add_route(route)


def runs(host: Rtnetlink, plan: Plan) -> bool:
    """Reports whether the node's end takes packets; the kernel opens its queue a little after the pod's end is up."""
    return host.link(plan.interface).running


def clear(host: Rtnetlink, interface: str) -> None:
    """Remove both ends with all that hangs on them. Repeatable."""
    try:
        host.delete_link(interface)
    except RequestError as error:
        if error.errno != ENODEV:
            raise


def refuse_existing(host: Rtnetlink, inside: Rtnetlink, container: str, ifname: str) -> None:
    """Raises CniError where this attachment, another one of the same hash, or the pod's interface stands already."""
    name = attached.interface_name(container, ifname)
    link = find_link(host, name)
    if link is None:
        if find_link(inside, ifname) is not None:
            raise CniError(Code.EXISTS, f"the pod has a link {ifname} already, which is not ours; choose another name")
        return
    if attached.find(host, container, ifname) is not None:
        raise CniError(Code.EXISTS, f"container {container} has its {ifname} already (link {name}); DEL comes first")
    raise CniError(
        Code.EXISTS, f"link {name} is of another attachment ({link.alias or 'no alias'}); start the pod anew"
    )


def uplink_mtu(host: Rtnetlink) -> int:
    """The MTU of the link that leads out of this node."""
    for address in _FAR:
        with suppress(RequestError):
            return min(host.link_to(address).mtu, 65535) or _USUAL_MTU
    return _USUAL_MTU


def behind(host: Rtnetlink, inside: Rtnetlink, ifname: str) -> str:
    """The node's end of a link that another plugin made. Raises KernelError where it is no veth of this node."""
    end = inside.link(ifname)
    for link in host.links():
        if (link.index, link.peer) == (end.peer, end.index):
            return link.name
    raise KernelError(f"{ifname} in the pod is no veth whose other end is on this node; it cannot be protected by link")


def differences(host: Rtnetlink, inside: Rtnetlink, plan: Plan) -> Iterator[str]:
    """What is not as ADD left it, in words."""
    outer, inner = find_link(host, plan.interface), find_link(inside, plan.ifname)
    if outer is None:
        yield f"link {plan.interface} of the pod is gone from the node"
    else:
        yield from _of_link(outer, plan.host_mac, 0, "on the node")
        ways, neighbours = {held.route for held in host.routes(plan.interface)}, host.neighbours(plan.interface)
        for address in plan.addresses:
            if (way := _way_in(plan, address)) not in ways:
                yield f"the node has no route {show(way)}"
            if neighbours.get(address, "") != (plan.mac or neighbours.get(address)):
                yield f"the node's permanent neighbour {address} on {plan.interface} is gone or changed"
    if inner is None:
        yield f"link {plan.ifname} is gone from the pod"
        return
    yield from _of_link(inner, plan.mac, plan.mtu, "in the pod")
    yield from missing_addresses(inside, plan)
    ways, neighbours = {held.route for held in inside.routes(plan.ifname)}, inside.neighbours(plan.ifname)
    for way in _ways_out(plan):
        if way not in ways:
            yield f"the pod has no route {show(way)}"
        assert way.gateway is not None
        if neighbours.get(way.gateway) != plan.host_mac:
            yield f"the pod's permanent neighbour {way.gateway} on {plan.ifname} is gone or changed"


def missing_addresses(inside: Rtnetlink, plan: Plan) -> Iterator[str]:
    """The addresses that the pod lacks, in words; of what another plugin made this alone can be known."""
    if find_link(inside, plan.ifname) is None:
        yield f"link {plan.ifname} is gone from the pod"
        return
    held = {each.ip for each in inside.addresses(plan.ifname)}
    for address in plan.addresses:
        if address not in held:
            yield f"{plan.ifname} in the pod has no address {address}"


def mark(host: Rtnetlink, attachment: PodAttachment) -> None:
    """Write down whose link this is, which says as well that it is complete."""
    host.set_link(attachment.interface, alias=attached.alias_of(attachment))


def _of_link(link: Link, mac: str, mtu: int, where: str) -> Iterator[str]:
    if not link.up:
        yield f"link {link.name} {where} is down"
    if mac and link.mac != mac:
        yield f"link {link.name} {where} has MAC {link.mac}, not {mac}"
    if mtu and link.mtu != mtu:
        yield f"link {link.name} {where} has MTU {link.mtu}, not {mtu}"


def find_link(netlink: Rtnetlink, name: str) -> Link | None:
    """The link of this name, None where there is none."""
    try:
        return netlink.link(name)
    except RequestError as error:
        if error.errno == ENODEV:
            return None
        raise


def _way_in(plan: Plan, address: Address) -> Route:
    return Route(ip_network(address), None, plan.interface)


def _ways_out(plan: Plan) -> Iterator[Route]:
    for family in dict.fromkeys(address.version for address in plan.addresses):
        yield Route(_ANYWHERE[family], GATEWAYS[family], plan.ifname, onlink=True)
