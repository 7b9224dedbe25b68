"""The ground that roads are built on, as this node's kernel tells it: the way to each other node, and the link's MTU.

All ways are asked for with a few system calls. A way through a tunnel of ours is none: the tunnel stands on the ground.
What it ignores: several ways at once; the kernel names the one that it would take.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from vallum.kernel import rtmessages
from vallum.kernel.rtmessages import GETROUTE, Link
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import Address
from vallum.model.ground import Ground, Hop
from vallum.model.wiring import DEVICE_PREFIX

_FAR = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
"""Nobody's (RFC 5737, RFC 3849): the way there is the default route."""
_USUAL = 1500
_LOOPBACK = 1
"""Index of `lo`, by which a node reaches nobody else."""


def look(addresses: Iterable[Address]) -> Ground:
    """The ground of the namespace of the calling thread; what it can run of ipip is left out (`kernel.ipip.driver`).

    Args:
        addresses: of the other nodes. Where there is none, `mtu` is that of the default route's link.

    Raises:
        KernelError: the kernel could not be asked. An address that it knows no way to has no hop.
    """
    with Rtnetlink() as netlink:
        links = {link.index: link for link in netlink.links()}
        hops = _hops(netlink, links, tuple(addresses))
        found = hops or _hops(netlink, links, tuple(_FAR.values()))
    return Ground(hops, min((hop.mtu for hop in found.values()), default=_USUAL))


def _hops(netlink: Rtnetlink, links: Mapping[int, Link], addresses: tuple[Address, ...]) -> dict[Address, Hop]:
    answers = netlink.many([(GETROUTE, rtmessages.way_to(address), 0) for address in addresses])
    found = {}
    for address, answer in zip(addresses, answers, strict=True):
        if not isinstance(answer, bytes):
            continue
        told = rtmessages.read_route(answer)
        link = links.get(told.index or _LOOPBACK)
        if not told.unicast or told.source is None or link is None or _leads_nowhere(link):
            continue
        # what a path was found to bear is forgotten after minutes; an MTU that an administrator wrote stays
        mtu = link.mtu if told.mtu is None or told.passing else min(link.mtu, told.mtu)
        found[address] = Hop(link.name, told.gateway, told.source, mtu)
    return found


def _leads_nowhere(link: Link) -> bool:
    return link.index == _LOOPBACK or link.name.startswith(DEVICE_PREFIX)
