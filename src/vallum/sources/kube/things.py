"""Namespaces, nodes and pods: from their wire shape to the model, with the rules of `sources.decode`.

An API server has checked most of it. What it let through and we cannot read is left out and said, in `problems`, one
line for each field: such an object must never stop the others. Policies have a file of their own.
"""

import sys
from ipaddress import AddressValueError, IPv4Address, IPv6Address, NetmaskValueError, ip_network
from socket import AF_INET, inet_pton

import msgspec

from vallum.model.address import Address, Network
from vallum.model.objects import NAME_LABEL, PROTOCOLS, NamedPort, Namespace, Node, Pod, PodId
from vallum.model.selector import Labels
from vallum.sources.kube import wire
from vallum.sources.kube.interned import Interned
from vallum.sources.names import ADDRESS_TYPES, GROUPS, LOCAL_ADDRESSES, POD_RANGES, ROUTERS, TEMPLATE_HASH

Problems = list[str]

_FINISHED = frozenset({"Succeeded", "Failed"})
_ALWAYS = "Always"

_owners = msgspec.json.Decoder(list[wire.Owner] | None).decode
_container_ports = msgspec.json.Decoder(list[wire.Port] | None).decode


def namespace(found: wire.Namespace, interned: Interned, _: Problems) -> Namespace:
    """A namespace. Servers before 1.21 did not set its name label."""
    meta = found.meta
    labels = interned.labels(meta.labels)
    if (NAME_LABEL, meta.name) not in labels:
        labels = interned.pairs(dict(labels) | {NAME_LABEL: meta.name})
    return Namespace(sys.intern(meta.name), labels)


def node(found: wire.Node, interned: Interned, problems: Problems) -> Node:
    """A node."""
    meta, spec = found.meta, found.spec
    stated = [(f"status.addresses[{index}]", each) for index, each in enumerate(found.status.addresses or ())]
    texts = [(path, each.address) for path, each in stated if each.type in ADDRESS_TYPES]
    texts += _listed(meta, LOCAL_ADDRESSES)
    ranges = [
        (f"spec.podCIDRs[{index}]", text)
        for index, text in enumerate(spec.ranges or ([spec.range] if spec.range else []))
    ]
    addresses, routers = (
        [address(text, path, problems) for path, text in each] for each in (texts, _listed(meta, ROUTERS))
    )
    networks, groups = (
        [network(text, path, problems) for path, text in each]
        for each in ([*ranges, *_listed(meta, POD_RANGES)], _listed(meta, GROUPS))
    )
    return Node(
        sys.intern(meta.name),
        interned.labels(meta.labels),
        tuple(dict.fromkeys(each for each in addresses if each)),
        tuple(each for each in networks if each),
        tuple(each for each in groups if each),
        tuple(each for each in routers if each),
    )


def _listed(meta: wire.NodeMeta, annotation: str) -> list[tuple[str, str]]:
    """What an annotation lists, parted by commas, each with its path."""
    text = (meta.annotations or {}).get(annotation, "")
    return [(f"metadata.annotations.{annotation}", part.strip()) for part in text.split(",") if part.strip()]


def pod(found: wire.Pod, interned: Interned, problems: Problems, own: str) -> Pod:
    """A pod; its uid only where it is one of the `own` node."""
    meta, spec, status = found.meta, found.spec, found.status
    raw = (bytes(meta.labels), bytes(meta.owners))
    labels, owner = interned.once(raw, lambda: _family(meta, interned))
    on = sys.intern(spec.node) if spec.node else None
    ips = status.ips
    return Pod(
        PodId(sys.intern(meta.namespace or "default"), meta.name),
        labels,
        on,
        _addresses([each.ip for each in ips] if ips else [status.ip], problems) if ips or status.ip else (),
        _ports(spec, interned, problems),
        spec.host_network,
        status.phase in _FINISHED,
        sys.intern(meta.created) if meta.created else "",
        owner,
        meta.uid if on == own else "",
    )


def _family(meta: wire.PodMeta, interned: Interned) -> tuple[Labels, str]:
    """What pods of one owner share: the labels, and the workload.

    A Deployment stands behind a ReplicaSet that is named after it and the template's hash.
    """
    labels, owners = interned.labels(meta.labels), _owners(meta.owners) if meta.owners else None
    if not owners:
        return labels, ""
    found = next((owner for owner in owners if owner.controller), owners[0])
    suffix = f"-{dict(labels).get(TEMPLATE_HASH, '')}"
    if found.kind == "ReplicaSet" and suffix != "-" and found.name.endswith(suffix):
        return labels, sys.intern(f"Deployment/{found.name.removesuffix(suffix)}")
    return labels, sys.intern(f"{found.kind}/{found.name}")


def _addresses(texts: list[str], problems: Problems) -> tuple[Address, ...]:
    """At most one of each family: the first."""
    found: dict[int, Address] = {}
    for text in texts:
        parsed = address(text, "status.podIPs", problems)
        if parsed:
            found.setdefault(parsed.version, parsed)
    return tuple(found.values())


def _ports(spec: wire.PodSpec, interned: Interned, problems: Problems) -> tuple[NamedPort, ...]:
    """Ports of containers and of init containers that stay (KEP-753)."""
    raws = [bytes(each.ports) for each in spec.containers or () if each.ports]
    raws += [bytes(each.ports) for each in spec.init_containers or () if each.restart == _ALWAYS and each.ports]
    if not raws:
        return ()
    found, problem = interned.once(tuple(raws), lambda: _named(raws, interned))
    problems += problem
    return found


def _named(raws: list[bytes], interned: Interned) -> tuple[tuple[NamedPort, ...], Problems]:
    found: set[NamedPort] = set()
    problems: Problems = []
    for port in (port for raw in raws for port in _container_ports(raw) or ()):
        protocol = PROTOCOLS.get(port.protocol or "TCP")
        if protocol is None:
            problems.append(f"containers: the protocol `{port.protocol}` of port {port.number} is not known here")
        else:
            found.add(NamedPort(sys.intern(port.name), protocol, port.number))
    return interned.value(tuple(sorted(found))), problems


def address(text: str, path: str, problems: Problems) -> Address | None:
    """An address, None where it is none."""
    try:
        if ":" in text:
            return IPv6Address(text)
        return IPv4Address(int.from_bytes(inet_pton(AF_INET, text)))  # twice as fast as from text
    except OSError:
        plain = _sloppy(text)
        if plain != text:
            return address(plain, path, problems)
    except AddressValueError:
        pass
    problems.append(f"{path}: `{text}` is no address")
    return None


def network(text: str, path: str, problems: Problems) -> Network | None:
    """A network, None where it is none. Bits behind the prefix and leading zeros are what servers let through."""
    try:
        return ip_network(text if ":" in text else _sloppy(text), strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        problems.append(f"{path}: `{text}` is no range of addresses")
        return None


def _sloppy(text: str) -> str:
    """Without leading zeros, which Kubernetes reads as decimal (netutils.ParseIPSloppy, CVE-2021-29923)."""
    if not text.startswith("0") and ".0" not in text:
        return text
    base, slash, prefix = text.partition("/")
    parts = (part.lstrip("0") or "0" if part.isdecimal() else part for part in base.split("."))
    return ".".join(parts) + slash + prefix
