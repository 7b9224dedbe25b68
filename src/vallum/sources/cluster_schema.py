"""The shape of what the cluster itself is made of: namespaces, every field, nodes, what is read of them, and of our
networks how packets travel to them.
"""

from ipaddress import ip_network

from vallum.ipam.own import NETWORK_FIELDS
from vallum.model.objects import ENCAPSULATIONS, LEAST_MTU, MOST_MTU, NAME_LABEL
from vallum.network import BACKENDS
from vallum.sources.marks import Findings, Value
from vallum.sources.metadata_schema import metadata
from vallum.sources.names import ADDRESS_TYPES, GROUPS, LOCAL_ADDRESSES, POD_RANGES, ROUTERS
from vallum.sources.old_forms import check_annotations
from vallum.sources.schema import Anything, Flag, ListOf, Number, Record, Text, fields_of
from vallum.sources.syntax import address, cidr, cidrs, local_addresses, long_name, one_of, short_name

_NAME_TYPES = ("Hostname", "InternalDNS", "ExternalDNS")


def _namespace(value: Value, path: str, findings: Findings) -> None:
    _name_label(value, path, findings)
    check_annotations(value, path, findings)


def _name_label(value: Value, path: str, findings: Findings) -> None:
    meta = fields_of(fields_of(value)["metadata"])
    labels = fields_of(meta["labels"]) if "labels" in meta else {}
    if NAME_LABEL in labels and labels[NAME_LABEL].data != meta["name"].data:
        problem = f"metadata.labels.{NAME_LABEL}: is always the namespace's own name; remove it or write the name"
        findings.wrong(labels[NAME_LABEL].spot, f"{path}{problem}")


NAMESPACE = Record(
    {
        "apiVersion": Text(),
        "kind": Text(),
        "metadata": metadata(short_name, namespaced=False, strict=True),
        "spec": Record({"finalizers": ListOf(Text())}),
        "status": Record({"phase": Text(one_of("Active", "Terminating")), "conditions": Anything()}),
    },
    required=("metadata",),
    check=_namespace,
)


def _ranges(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    listed = fields["podCIDRs"].data if "podCIDRs" in fields else ()
    assert isinstance(listed, tuple)
    first = fields.get("podCIDR")
    if first and listed and first.data != listed[0].data:
        problem = f"{path}.podCIDRs: the first of them is {listed[0].data}, but podCIDR is {first.data}"
        findings.wrong(listed[0].spot, f"{problem}; make them equal")
    if len({ip_network(str(item.data)).version for item in listed}) < len(listed):
        findings.wrong(listed[-1].spot, f"{path}.podCIDRs: a node has at most one range of each family")


def _address(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    problem = address(str(fields["address"].data)) if fields["type"].data in ADDRESS_TYPES else None
    if problem:
        findings.wrong(fields["address"].spot, f"{path}.address: {problem}")


_ANNOTATIONS = Record(
    {
        LOCAL_ADDRESSES: Text(local_addresses),
        POD_RANGES: Text(cidrs),
        GROUPS: Text(cidrs),
        ROUTERS: Text(local_addresses),
    },
    strict=False,
    example=f"{{{LOCAL_ADDRESSES}: 10.0.0.1}}",
)


NODE = Record(
    {
        "metadata": metadata(long_name, namespaced=False, annotations=_ANNOTATIONS),
        "spec": Record(
            {"podCIDR": Text(cidr), "podCIDRs": ListOf(Text(cidr))},
            strict=False,
            check=_ranges,
        ),
        "status": Record(
            {
                "addresses": ListOf(
                    Record(
                        {"type": Text(one_of(*ADDRESS_TYPES, *_NAME_TYPES)), "address": Text()},
                        required=("type", "address"),
                        example="{type: InternalIP, address: 192.0.2.1}",
                        check=_address,
                    )
                )
            },
            strict=False,
        ),
    },
    required=("metadata",),
    strict=False,
)


NETWORK = Record(
    {
        "metadata": metadata(long_name, namespaced=False),
        "spec": Record(
            dict.fromkeys(NETWORK_FIELDS, Anything())
            | {
                "cidr": Text(cidr),
                "backend": Text(one_of(*BACKENDS)),
                "encapsulation": Text(one_of(*ENCAPSULATIONS)),
                "masquerade": Flag(),
                "mtu": Number(LEAST_MTU, MOST_MTU),
            },
            required=("cidr",),
            example="{cidr: 10.0.0.0/16, backend: vxlan}",
        ),
    },
    required=("metadata", "spec"),
    strict=False,
)
