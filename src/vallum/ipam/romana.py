"""Romana 2.0's topology JSON, read as it is and written back. Pure: plain dicts in and out, as json gives them.

A tenant is a name or a list of names, an assignment is one string to one string. `cidr` and the numbers that Romana
prints are read over; what it does not know (prefix per host, selectors, IPv6 block masks) has no place here: see `own`.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from vallum.ipam.fields import Fields, cidr_of, reading
from vallum.ipam.records import SPARE, FixedHost, Group, Network, Topology
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, default_block_mask, padded, trimmed
from vallum.model.errors import InputError
from vallum.model.selector import labels

_GROUP = {"name", "assignment", "routing", "groups", "cidr", "dummy"}
_HOST = {"name", "ip"}


def read(document: Mapping[str, Any]) -> Layout:
    """A layout from a Romana topology. Raises InputError that names the field with its index path."""
    top = Fields(document, "", {"networks", "topologies"})
    networks = tuple(_network(each, order) for order, each in enumerate(top.objects("networks")))
    topologies = tuple(_topology(each) for each in top.objects("topologies"))
    layout = Layout(networks, topologies)
    check(layout)
    return layout


def is_romana(document: Mapping[str, Any]) -> bool:
    """Reports whether it has the shape of Romana's, rather than of ours."""
    return "networks" in document and "topologies" in document and "kind" not in document


def _network(item: tuple[str, Any], order: int) -> Network:
    place, value = item
    fields = Fields(value, place, {"name", "cidr", "block_mask", "tenants", "revision"})
    cidr = cidr_of(fields.text("cidr"), f"{place}.cidr")
    mask = fields.number("block_mask")
    return Network(
        name=fields.text("name"),
        cidr=cidr,
        block_mask=default_block_mask(cidr) if mask is None else mask,
        order=order,
        tenants=fields.texts("tenants"),
    )


def _topology(item: tuple[str, Any]) -> Topology:
    place, value = item
    fields = Fields(value, place, {"networks", "map", "revision"})
    names = fields.texts("networks")
    groups = tuple(_group(each) for each in fields.objects("map"))
    return Topology(name=names[0] if names else place, networks=names, groups=padded(groups))


def _group(item: tuple[str, Any]) -> Group:
    place, value = item
    fields = Fields(value, place, _GROUP)
    if fields.flag("dummy"):
        return SPARE
    below = list(fields.objects("groups"))
    hosts = [each for each in below if isinstance(each[1], Mapping) and "ip" in each[1]]
    if hosts and len(hosts) != len(below):
        raise InputError(place, "has groups and hosts side by side; a group holds either")
    return Group(
        name=fields.text("name", ""),
        assignment=labels(dict(fields.strings("assignment"))),
        routing=fields.text("routing", ""),
        groups=() if hosts else tuple(_group(each) for each in below),
        hosts=tuple(_host(each) for each in hosts),
    )


def _host(item: tuple[str, Any]) -> FixedHost:
    place, value = item
    fields = Fields(value, place, _HOST)
    with reading(f"{place}.ip", "is no address"):
        address = ip_address(fields.text("ip"))
    name = fields.text("name", "")
    if not name:
        raise InputError(f"{place}.name", f"is missing for the host {address}; add one")
    return FixedHost(name, address)


def write(state: State) -> dict[str, Any]:
    """The layout of a state as Romana's. Raises InputError for what it has no words for."""
    return {
        "networks": [_network_out(network) for network in state.networks.values()],
        "topologies": [_topology_out(topology) for topology in in_order(state)],
    }


def in_order(state: State) -> Iterator[Topology]:
    """The topologies in the order of their first networks."""
    order = list(state.networks)
    yield from sorted(state.topologies.values(), key=lambda topology: order.index(topology.networks[0]))


def _network_out(network: Network) -> dict[str, Any]:
    plain = Network(name=network.name, cidr=network.cidr, block_mask=network.block_mask)
    kept = {"order": network.order, "tenants": network.tenants, "revision": network.revision}
    for field in Network.__slots__:
        if field not in kept and getattr(network, field) != getattr(plain, field):
            text = "Romana's form has no word for it; export our own"
            raise InputError(f"Network {network.name} {field}", text)
    out = {"name": network.name, "cidr": str(network.cidr), "block_mask": network.block_mask}
    return out | ({"tenants": list(network.tenants)} if network.tenants else {})


def _topology_out(topology: Topology) -> dict[str, Any]:
    place = f"Topology {topology.name} map"
    groups = [_group_out(group, f"{place}[{slot}]") for slot, group in enumerate(trimmed(topology.groups))]
    return {"networks": list(topology.networks), "map": groups}


def _group_out(group: Group, place: str) -> dict[str, Any]:
    if group.spare:
        return {"dummy": True, "groups": []}
    if group.host_prefix is not None:
        raise InputError(f"{place}.hostPrefix", "Romana's form has no word for it; export our own")
    out: dict[str, Any] = {"name": group.name} if group.name else {}
    out |= {"assignment": dict(group.assignment)} if group.assignment else {}
    out |= {"routing": group.routing} if group.routing else {}
    below = [_group_out(each, f"{place}.groups[{slot}]") for slot, each in enumerate(group.groups)]
    return out | {"groups": below or [{"name": host.name, "ip": str(host.address)} for host in group.hosts]}
