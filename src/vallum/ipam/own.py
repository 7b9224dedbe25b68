"""Our own form of every record: objects with apiVersion, kind, metadata.name and spec, as plain dicts. Pure.

The same dicts are YAML documents, custom resources and rows of the ledger. Blocks, hosts and strays are written by
programs; they are read as strictly as what people write.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from vallum.ipam.fields import Fields, cidr_of, reading
from vallum.ipam.records import (
    PER_HOST,
    SPARE,
    Blackout,
    Block,
    FixedHost,
    Group,
    Host,
    Network,
    Place,
    Record,
    Stray,
    Topology,
    key_of,
)
from vallum.ipam.romana import in_order
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, default_block_mask, padded, trimmed
from vallum.model.address import Address, pack
from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError
from vallum.model.objects import ENCAPSULATIONS, LEAST_MTU, MOST_MTU
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector, labels

API_VERSION = "vallum.dev/v1alpha1"
LAYOUT = ("Network", "Topology", "Blackout")


def read(documents: Iterable[Mapping[str, Any]]) -> Layout:
    """A layout from Network, Topology and Blackout documents; networks are tried by their `order`, then by name.

    Raises InputError that names object, field and index path.
    """
    found = [_layout(index, document) for index, document in enumerate(documents)]
    layout = Layout(
        tuple(each for each in found if isinstance(each, Network)),
        tuple(each for each in found if isinstance(each, Topology)),
        tuple(each for each in found if isinstance(each, Blackout)),
    )
    check(layout)
    return layout


def _layout(index: int, document: Mapping[str, Any]) -> Record:
    fields = Fields(document, f"document {index + 1}", {"apiVersion", "kind", "metadata", "spec"})
    version, kind = fields.text("apiVersion"), fields.text("kind")
    if version != API_VERSION:
        raise InputError(fields.at("apiVersion"), f"{version!r} is not read here; write {API_VERSION}")
    if kind not in LAYOUT:
        raise InputError(fields.at("kind"), f"{kind!r} is none of {', '.join(LAYOUT)}")
    name = Fields(document.get("metadata"), fields.at("metadata"), {"name"}).text("name")
    return record(kind, name, document.get("spec"))


def write(state: State) -> list[dict[str, Any]]:
    """The layout of a state as documents."""
    wanted: list[Record] = [*state.networks.values(), *in_order(state), *state.blackouts.values()]
    return [document(each) for each in wanted]


def document(of: Record) -> dict[str, Any]:
    """A whole object."""
    return {"apiVersion": API_VERSION, "kind": key_of(of).kind, "metadata": {"name": name_of(of)}, "spec": spec(of)}


def name_of(of: Record) -> str:
    """A name that Kubernetes takes (RFC 1123), and that no other record of its kind has."""
    match of:
        case Block():
            return _dashed(of.cidr)
        case Blackout():
            return _dashed(of.cidr)
        case Stray():
            return f"{_dashed(of.address)}.{of.host}"
        case _:
            return of.name


def _dashed(of: Address | Cidr) -> str:
    return re.sub(r"[./:]", "-", of.exploded)


def record(kind: str, name: str, value: object, revision: int = 0) -> Record:
    """The record of an object's kind, name and spec. Raises InputError."""
    reader = _READERS.get(kind)
    if reader is None:
        raise InputError(f"{kind} {name}", f"is of no kind that is read here; kinds are: {', '.join(_READERS)}")
    return reader(name, value, revision)


def spec(of: Record) -> dict[str, Any]:
    """The spec of a record, without what is as it is by default."""
    match of:
        case Network():
            return _network_out(of)
        case Topology():
            return {"networks": list(of.networks), "map": [_group_out(group) for group in trimmed(of.groups)]}
        case Host():
            return _plain(
                labels=dict(of.labels), addresses=[str(each) for each in of.addresses],
                places=[_place_out(place) for place in of.places],
            )  # fmt: skip
        case Block():
            return _plain(
                network=of.network, cidr=str(of.cidr), host=of.host, tenant=of.tenant,
                used={str(offset): owner for offset, owner in of.used.items()},
                freed={str(offset): at for offset, at in of.freed.items()},
            )  # fmt: skip
        case Blackout():
            return {"cidr": str(of.cidr)}
        case Stray():
            return {"address": str(of.address), "host": of.host, "owner": of.owner}


def _plain(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", (), [], {}, False)}


# Networks

NETWORK_FIELDS = {
    "cidr", "blockMask", "order", "tenants", "spill", "blocks", "nodeSelector", "namespaceSelector", "reserved",
    "subnet", "gateway", "backend", "encapsulation", "masquerade", "mtu",
}  # fmt: skip


def _network(name: str, value: object, revision: int) -> Network:
    fields = Fields(value, f"Network {name}", NETWORK_FIELDS)
    cidr = cidr_of(fields.text("cidr"), fields.at("cidr"))
    mask, gateway = fields.number("blockMask"), fields.text("gateway", None)
    return Network(
        name=name,
        cidr=cidr,
        block_mask=default_block_mask(cidr) if mask is None else mask,
        order=fields.number("order") or 0,
        tenants=fields.texts("tenants"),
        spill=fields.flag("spill"),
        blocks=fields.text("blocks", PER_HOST),
        nodes=_selector(fields, "nodeSelector"),
        namespaces=_selector(fields, "namespaceSelector"),
        reserved=tuple(cidr_of(text, fields.at("reserved")) for text in fields.texts("reserved")),
        subnet=fields.flag("subnet"),
        gateway=None if gateway is None else _address(gateway, fields.at("gateway")),
        backend=fields.text("backend", None),
        encapsulation=_encapsulation(fields),
        masquerade=fields.flag("masquerade") if "masquerade" in fields else None,
        mtu=_mtu(fields),
        revision=revision,
    )


def _network_out(of: Network) -> dict[str, Any]:
    return (
        {"cidr": str(of.cidr), "blockMask": of.block_mask}
        | _plain(
            order=of.order,
            tenants=list(of.tenants),
            spill=of.spill,
            blocks="" if of.blocks == PER_HOST else of.blocks,
            nodeSelector=_selector_out(of.nodes),
            namespaceSelector=_selector_out(of.namespaces),
            reserved=[str(each) for each in of.reserved],
            subnet=of.subnet,
            gateway=str(of.gateway) if of.gateway else None,
            backend=of.backend,
            encapsulation=of.encapsulation,
            mtu=of.mtu,
        )
        | ({} if of.masquerade is None else {"masquerade": of.masquerade})
    )  # false is not what it is by default


def _encapsulation(fields: Fields) -> str | None:
    found = fields.text("encapsulation", None)
    if found is not None and found not in ENCAPSULATIONS:
        raise InputError(
            fields.at("encapsulation"), f"{found!r} is not known; write one of {', '.join(ENCAPSULATIONS)}"
        )
    return found


def _mtu(fields: Fields) -> int | None:
    found = fields.number("mtu")
    if found is not None and not LEAST_MTU <= found <= MOST_MTU:
        raise InputError(fields.at("mtu"), f"{found} is out of range; it can be {LEAST_MTU} to {MOST_MTU} bytes")
    return found


def _selector(fields: Fields, name: str) -> Selector:
    if name not in fields:
        return EVERYTHING
    inner = fields.object(name, {"matchLabels", "matchExpressions"})
    found = {Requirement(key, Operator.IN, (value,)) for key, value in inner.strings("matchLabels").items()}
    for place, item in inner.objects("matchExpressions"):
        each = Fields(item, place, {"key", "operator", "values"})
        values = tuple(sorted(set(each.texts("values"))))
        with reading(each.at("operator"), f"write one of {', '.join(Operator)}"):
            operator = Operator(each.text("operator"))
        if bool(values) != (operator in {Operator.IN, Operator.NOT_IN}):
            raise InputError(each.at("values"), f"{operator} takes {'no' if values else 'at least one'} value")
        found.add(Requirement(each.text("key"), operator, values))
    return Selector(tuple(sorted(found)))


def _selector_out(selector: Selector) -> dict[str, Any]:
    plain = [each for each in selector.requirements if each.operator is Operator.IN and len(each.values) == 1]
    if len({each.key for each in plain}) < len(plain):
        plain = []
    others = [each for each in selector.requirements if each not in plain]
    return _plain(
        matchLabels={each.key: each.values[0] for each in plain},
        matchExpressions=[
            {"key": each.key, "operator": str(each.operator)} | _plain(values=list(each.values)) for each in others
        ],
    )


# Topologies

_GROUP = {"name", "assignment", "routing", "groups", "hosts", "hostPrefix", "spare"}


def _topology(name: str, value: object, revision: int) -> Topology:
    fields = Fields(value, f"Topology {name}", {"networks", "map"})
    groups = tuple(_group(place, item) for place, item in fields.objects("map"))
    return Topology(name=name, networks=fields.texts("networks"), groups=padded(groups), revision=revision)


def _group(place: str, value: object) -> Group:
    fields = Fields(value, place, _GROUP)
    if fields.flag("spare"):
        return SPARE
    return Group(
        name=fields.text("name", ""),
        assignment=labels(dict(fields.strings("assignment"))),
        routing=fields.text("routing", ""),
        groups=tuple(_group(where, item) for where, item in fields.objects("groups")),
        hosts=tuple(_fixed(where, item) for where, item in fields.objects("hosts")),
        host_prefix=fields.number("hostPrefix"),
    )


def _fixed(place: str, value: object) -> FixedHost:
    fields = Fields(value, place, {"name", "address"})
    return FixedHost(fields.text("name"), _address(fields.text("address"), fields.at("address")))


def _group_out(group: Group) -> dict[str, Any]:
    if group.spare:
        return {"spare": True}
    return _plain(
        name=group.name,
        assignment=dict(group.assignment),
        routing=group.routing,
        groups=[_group_out(each) for each in group.groups],
        hosts=[{"name": host.name, "address": str(host.address)} for host in group.hosts],
        hostPrefix=group.host_prefix,
    )


# What programs write


def _host(name: str, value: object, revision: int) -> Host:
    fields = Fields(value, f"Host {name}", {"labels", "addresses", "places"})
    return Host(
        name=name,
        labels=labels(dict(fields.strings("labels"))),
        addresses=tuple(_address(text, fields.at("addresses")) for text in fields.texts("addresses")),
        places=tuple(_place(place, item) for place, item in fields.objects("places")),
        revision=revision,
    )


def _place(place: str, value: object) -> Place:
    fields = Fields(value, place, {"network", "path", "prefix"})
    with reading(fields.at("path"), "write slots such as 0/3"):
        path = tuple(int(slot) for slot in fields.text("path").split("/"))
    prefix = fields.text("prefix", None)
    return Place(fields.text("network"), path, None if prefix is None else cidr_of(prefix, fields.at("prefix")))


def _place_out(place: Place) -> dict[str, Any]:
    path = "/".join(map(str, place.path))
    return {"network": place.network, "path": path} | _plain(prefix=str(place.prefix) if place.prefix else None)


def _block(name: str, value: object, revision: int) -> Block:
    fields = Fields(value, f"Block {name}", {"network", "cidr", "host", "tenant", "used", "freed"})
    cidr = cidr_of(fields.text("cidr"), fields.at("cidr"))
    with reading(f"Block {name}", "its offsets are whole numbers and its times are numbers"):
        used = {int(offset): owner for offset, owner in fields.strings("used").items()}
        freed = {int(offset): float(at) for offset, at in fields.mapping("freed").items()}
    return Block(
        network=fields.text("network"),
        first=pack(cidr.network_address),
        mask=cidr.prefixlen,
        host=fields.text("host", None),
        tenant=fields.text("tenant", ""),
        used=used,
        freed=freed,
        revision=revision,
    )


def _blackout(name: str, value: object, revision: int) -> Blackout:
    fields = Fields(value, f"Blackout {name}", {"cidr"})
    return Blackout(cidr=cidr_of(fields.text("cidr"), fields.at("cidr")), revision=revision)


def _stray(name: str, value: object, revision: int) -> Stray:
    fields = Fields(value, f"Stray {name}", {"address", "host", "owner"})
    address = _address(fields.text("address"), fields.at("address"))
    return Stray(address=address, host=fields.text("host"), owner=fields.text("owner"), revision=revision)


def _address(text: str, place: str) -> Address:
    with reading(place, "is no address"):
        return ip_address(text)


_READERS: dict[str, Callable[[str, object, int], Record]] = {
    "Network": _network,
    "Topology": _topology,
    "Host": _host,
    "Block": _block,
    "Blackout": _blackout,
    "Stray": _stray,
}
