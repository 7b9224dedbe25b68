"""The shape of a NetworkPolicy, every field, and the rules that join fields of one: v1, and the old form beside it.

The API server's own validation, and one thing more: a peer of nothing (`from: [{}]`) is refused here, because
read from a server it matches nothing and whoever writes it means everything. Ignores defaults: `decode` knows.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network

from vallum.model.address import span
from vallum.sources.marks import Findings, Value
from vallum.sources.metadata_schema import metadata
from vallum.sources.old_forms import protocol
from vallum.sources.schema import Anything, ListOf, Number, Record, Schema, Text, fields_of
from vallum.sources.selector_schema import SELECTOR
from vallum.sources.syntax import cidr, long_name, one_of, port_name

PROTOCOL = Text(one_of("TCP", "UDP", "SCTP"))
PORT_NUMBER = Number(1, 65535)
PORT_OR_NAME = Number(1, 65535, port_name)


def _block(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    network = ip_network(str(fields["cidr"].data))
    excepts = fields.get("except")
    for index, item in enumerate(excepts.data if excepts and isinstance(excepts.data, tuple) else ()):
        problem = _outside(ip_network(str(item.data)), network)
        if problem:
            findings.wrong(item.spot, f"{path}.except[{index}]: {problem}")


def _outside(cut: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> str | None:
    if cut == network:
        return f"{cut} is the whole block; an exception must leave something of it"
    inside = span(network)[0] <= span(cut)[0] and span(cut)[1] <= span(network)[1]
    return None if inside else f"{cut} does not lie inside of the block {network}; an exception cuts from its own"


def _peer(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    if not fields:
        side = "from" if ".from[" in path else "to"
        findings.wrong(
            value.spot,
            f"{path}: this peer is empty; leave `{side}` out to mean everybody, or write `podSelector: {{}}`",
        )
    elif "ipBlock" in fields and len(fields) > 1:
        findings.wrong(
            value.keys["ipBlock"], f"{path}: ipBlock stands alone in its peer; begin another with `- ipBlock:`"
        )


def _port(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    end = fields.get("endPort")
    if end is None or not isinstance(end.data, int):
        return
    port = fields.get("port")
    if port is None:
        findings.wrong(end.spot, f"{path}.endPort: needs `port` for the beginning of the range")
    elif not isinstance(port.data, int):
        findings.wrong(end.spot, f"{path}.endPort: a range needs a number as `port`, not the name `{port.text}`")
    elif end.data < port.data:
        findings.wrong(end.spot, f"{path}.endPort: {end.data} is below port {port.data}; swap them")


_BLOCK = Record(
    {"cidr": Text(cidr), "except": ListOf(Text(cidr))},
    required=("cidr",),
    example="{cidr: 10.0.0.0/8}",
    check=_block,
)
_PEERS = ListOf(
    Record(
        {"podSelector": SELECTOR, "namespaceSelector": SELECTOR, "ipBlock": _BLOCK},
        example="{podSelector: {matchLabels: {app: web}}}",
        check=_peer,
    )
)


def _ports(name: Schema) -> Schema:
    fields: dict[str, Schema] = {"protocol": name, "port": PORT_OR_NAME, "endPort": PORT_NUMBER}
    return ListOf(Record(fields, example="{port: 80}", check=_port))


def _rules(peers: str, other: str, ports: Schema) -> Schema:
    hint = f"`{other}` belongs to the other direction; a rule here has `{peers}` and `ports`"
    return ListOf(Record({peers: _PEERS, "ports": ports}, example=f"{{{peers}: [{{podSelector: {{}}}}]}}", hint=hint))


def _policy(name: Schema) -> Record:
    """The shape of a policy whose protocols are spelled like this."""
    ports = _ports(name)
    return Record(
        {
            "apiVersion": Text(),
            "kind": Text(),
            "metadata": metadata(long_name, namespaced=True, strict=True),
            "spec": Record(
                {
                    "podSelector": SELECTOR,
                    "policyTypes": ListOf(Text(one_of("Ingress", "Egress"))),
                    "ingress": _rules("from", "to", ports),
                    "egress": _rules("to", "from", ports),
                }
            ),
            "status": Anything(),
        },
        required=("metadata",),
    )


POLICY = _policy(PROTOCOL)
OLD_POLICY = _policy(Text(protocol))
"""Of extensions/v1beta1: the same fields, and protocols in any case of letters."""
