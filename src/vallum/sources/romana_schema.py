"""The shape of Romana's own policies: the JSON of 2.0, and the `securitypolicies` of 0.9 and 1.x.

What a NetworkPolicy cannot say is refused by name at its place. Ignores what the policies mean: `romana` knows.
"""

from vallum.sources.marks import Findings, Value
from vallum.sources.schema import Anything, ListOf, Number, Record, Schema, Text, fields_of
from vallum.sources.syntax import Check, cidr, label_value, one_of, short_name

_WRAPPER = "securitypolicies"


def policies_in(value: Value) -> tuple[Value, ...]:
    """The Romana policies of a document: one, a list of them, or those of the older wrapper. None: it holds no such."""
    items = value.data if isinstance(value.data, tuple) else (value,)
    found = [_unwrapped(item) for item in items]
    return tuple(policy for each in found for policy in each) if all(found) else ()


def _unwrapped(value: Value) -> tuple[Value, ...]:
    fields = fields_of(value)
    if "kind" in fields or "apiVersion" in fields:
        return ()
    wrapped = fields.get(_WRAPPER)
    if wrapped and isinstance(wrapped.data, tuple):
        return wrapped.data
    return (value,) if "applied_to" in fields else ()


def _words(*said: str, **unsaid: str) -> Check:
    """A check for these words; the others that Romana had are refused with the reason."""

    def check(text: str) -> str | None:
        return f"`{text}` {unsaid[text]}" if text in unsaid else one_of(*said, *unsaid)(text)

    return check


_DIRECTION = Text(
    _words("ingress", egress="drops what it lists, and a NetworkPolicy only allows; write what stays allowed as one")
)
_PEER = Text(
    _words(
        "any",
        host="is the pods' own node, which reaches them always; remove this peer",
        local="are the pods of one node, which no NetworkPolicy can select; name their tenant",
    )
)
_PROTOCOL = Text(_words("tcp", "udp", "any", icmp="cannot be named in a NetworkPolicy; `any` admits it with the rest"))
_DEST = Text(
    _words(host="is a node, and a NetworkPolicy protects pods only", local="has no tenant that could be a namespace")
)
_SAYS_NAMESPACE: dict[str, Schema] = {"tenant_id": Text(short_name), "tenant": Text(short_name)}
_SAYS_SEGMENT: dict[str, Schema] = {"segment_id": Text(label_value), "segment": Text(label_value)}


def _target(value: Value, path: str, findings: Findings) -> None:
    if not _SAYS_NAMESPACE.keys() & fields_of(value).keys():
        findings.wrong(value.spot, f"{path}: `tenant_id` is missing; it becomes the namespace")


def _peer(value: Value, path: str, findings: Findings) -> None:
    named = {"peer", "cidr", *_SAYS_NAMESPACE} & fields_of(value).keys()
    if len(named) != 1:
        findings.wrong(value.spot, f"{path}: a peer has one of `peer`, `cidr` and `tenant_id`, this has {len(named)}")


def _rule(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    for key in ("ports", "port_ranges"):
        if key in fields and fields[key].data and fields["protocol"].data == "any":
            findings.wrong(fields[key].spot, f"{path}.{key}: ports need tcp or udp as their protocol")


def _range(value: Value, path: str, findings: Findings) -> None:
    assert isinstance(value.data, tuple)
    numbers = [int(str(item.data)) for item in value.data]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        findings.wrong(value.spot, f"{path}: a range is its first and its last port, such as [5000, 5010]")
    elif numbers[0] == 0 and numbers[1] < 65535:
        findings.wrong(value.spot, f"{path}: a NetworkPolicy knows no port 0; begin with 1")


_PEER_FIELDS: dict[str, Schema] = {"peer": _PEER, "cidr": Text(cidr), **_SAYS_NAMESPACE, **_SAYS_SEGMENT}
_PEERS = ListOf(Record(_PEER_FIELDS, example="{peer: any}", check=_peer))
_RULES = ListOf(
    Record(
        {
            "protocol": _PROTOCOL,
            "ports": ListOf(Number(1, 65535)),
            "port_ranges": ListOf(ListOf(Number(0, 65535), check=_range)),
            "icmp_type": Anything(),
            "icmp_code": Anything(),
            "is_stateful": Anything(),
        },
        required=("protocol",),
        example="{protocol: tcp, ports: [80]}",
        check=_rule,
    )
)
_CLAUSE: dict[str, Schema] = {"peers": _PEERS, "rules": _RULES}
_TARGET: dict[str, Schema] = {"dest": _DEST, **_SAYS_NAMESPACE, **_SAYS_SEGMENT}
_POLICY: dict[str, Schema] = {
    "id": Text(),
    "name": Text(),
    "external_id": Anything(),
    "description": Anything(),
    "direction": _DIRECTION,
    "applied_to": ListOf(Record(_TARGET, example="{tenant_id: shop}", check=_target)),
    "ingress": ListOf(Record(_CLAUSE, example="{peers: [{peer: any}], rules: [{protocol: tcp, ports: [80]}]}")),
    **_CLAUSE,
}

ROMANA = Record(_POLICY, required=("direction", "applied_to"))
"""One policy. icmp_type, icmp_code and is_stateful are passed over, as Romana did when it made rules."""
