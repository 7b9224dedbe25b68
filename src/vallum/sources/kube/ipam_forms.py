"""Addresses in the API: how a record of `ipam` is an object there, and how one that was read becomes a record.

Kinds and spec are those of `ipam.own`; an object's resourceVersion is the record's revision. Names are for people, who
may call their networks and blackouts as they like; a block is named after its range, which no two objects can share.
"""

from dataclasses import dataclass
from typing import Any

from msgspec import Struct, field

from vallum.ipam import own
from vallum.ipam.records import Blackout, Block, Host, Key, Network, Record, Stray, Topology, key_of
from vallum.model.errors import InputError
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.kinds import Kind
from vallum.sources.kube.things import Problems
from vallum.sources.kube.wire import Meta, Page

_GROUP = f"/apis/{own.API_VERSION}"
_PLURALS = {
    "Network": "networks",
    "Topology": "topologies",
    "Blackout": "blackouts",
    "Host": "hosts",
    "Block": "blocks",
    "Stray": "strays",
}


class Thing(Struct, gc=False):
    """An object of ours as it is on the wire."""

    meta: Meta = field(name="metadata", default_factory=Meta)
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A record and the name of the object that it came from."""

    name: str
    record: Record

    @property
    def key(self) -> tuple[str, str, str]:
        """As that of any other thing of a source."""
        return type(self.record).__name__, "", self.name


def _kind(name: str) -> Kind:
    def make(found: Any, _: Interned, problems: Problems) -> Stored | None:
        try:
            return stored(name, found)
        except InputError as error:
            problems.append(str(error))
            return None

    plural = _PLURALS[name]
    return Kind(name, f"{plural}.vallum.dev", f"{_GROUP}/{plural}", Thing, Page[Thing], make)


KINDS = tuple(map(_kind, _PLURALS))
"""Those to follow."""


def stored(kind: str, thing: Thing) -> Stored:
    """The record of an object. Raises InputError, also for one of ours whose name does not tell what it is."""
    name = thing.meta.name
    record = own.record(kind, name, thing.spec, int(thing.meta.version or 0))
    if isinstance(record, Block | Stray) and name != name_of(record):
        raise InputError(f"{kind} {name}", f"must be named {name_of(record)}, so that there is no second one")
    return Stored(name, record)


def path(kind: str, name: str = "") -> str:
    """Where the API has the objects of a kind, or one of them."""
    return f"{_GROUP}/{_PLURALS[kind]}" + (f"/{name}" if name else "")


def name_of(record: Record) -> str:
    """What we call the object of a record."""
    match record:
        case Network() | Topology() | Host():
            return record.name
        case Block() | Blackout():
            return _dashed(str(record.cidr))
        case Stray():
            return f"{_dashed(str(record.address))}.{record.host}"


def host_of(record: Record) -> str | None:
    """The node with which an object goes."""
    match record:
        case Host():
            return record.name
        case Block() | Stray():
            return record.host
        case _:
            return None


def body(record: Record, name: str, node_uid: str | None) -> dict[str, Any]:
    """The whole object. With the uid of its node it goes when that goes."""
    meta: dict[str, Any] = {"name": name}
    if record.revision:
        meta["resourceVersion"] = str(record.revision)
    if node_uid is not None:
        meta["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": host_of(record), "uid": node_uid}]
    kind = key_of(record).kind
    return {"apiVersion": own.API_VERSION, "kind": kind, "metadata": meta, "spec": own.spec(record)}


def describe(key: Key) -> str:
    """For people."""
    return f"{_PLURALS[key.kind]}.vallum.dev {key.name}"


def _dashed(text: str) -> str:
    """Such as 10.64.0.0-27, fd00---122: what the API takes for a name."""
    name = text.replace("/", "-").replace(":", "-")
    return f"0{name}" if name.startswith("-") else name
