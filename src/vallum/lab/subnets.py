"""A lab whose nodes are in several subnets, a router each, that hang on the core: what no node's neighbour can reach.

Pure. No router knows the way from one node to the pods of another, as in a network that belongs to somebody else: what
crosses it must have the addresses of nodes. What it ignores: which pod is where (`topology`).
"""

from collections.abc import Iterable
from ipaddress import ip_interface, ip_network

from vallum.lab.topology import (
    CORE,
    NETNS_PREFIX,
    Interface,
    NodePlan,
    RouterPlan,
    Topology,
    living,
    node_names,
    ranges_of,
)
from vallum.model.address import Address
from vallum.model.errors import InputError
from vallum.model.objects import Object

MOST = 50
_BASES = {4: ("172.20", "172.31", "192.168"), 6: ("fd00:172:20", "fd00:172:31", "fd00:192:168")}


def settle(objects: tuple[Object, ...], nodes: int, subnets: int) -> Topology:
    """Nodes in turn in so many subnets, no pod yet. Raises InputError: too many nodes, or no addresses for them."""
    stated = [address for pod in living(objects) for address in pod.addresses]
    bases = tuple(_base(version, stated) for version in (4, 6))
    core = RouterPlan(CORE, _interfaces(bases, 0, 1), ())
    inner = tuple(
        RouterPlan(
            f"{CORE}:subnet{number}", _interfaces(bases, number, 1), (), CORE, _interfaces(bases, 0, 10 + number)
        )
        for number in range(1, subnets + 1)
    )
    names = node_names(objects, nodes)
    placed = (
        NodePlan(
            name,
            f"{NETNS_PREFIX}{name}",
            _interfaces(bases, at % subnets + 1, 11 + at),
            ranges_of(at + 1),
            inner[at % subnets].netns,
        )
        for at, name in enumerate(names)
    )
    return Topology(tuple(placed), (), (), core, inner)


def _base(version: int, stated: Iterable[Address]) -> str:
    """The first that no stated address lies in."""
    for base in _BASES[version]:
        whole = ip_network(f"{base}.0.0/16" if version == 4 else f"{base}::/48")
        if not any(address in whole for address in stated):
            return base
    raise InputError("pods", f"their IPv{version} addresses lie in every range that the lab could use for its subnets")


def _interfaces(bases: tuple[str, ...], link: int, end: int) -> tuple[Interface, ...]:
    """As decimal digits in both families, so that the two are told to belong together."""
    return ip_interface(f"{bases[0]}.{link}.{end}/24"), ip_interface(f"{bases[1]}:{link}::{end}/64")
