"""The kinds that are watched: where each is found, and how its bytes become an object of the model.

Decoding is straight from bytes. An object with fields of types that no API gives is read by its metadata alone, so
that it cannot stop the stream: a pod without an address waits, and a policy closes what it may select.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from vallum.sources.kube import wire
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.policies import closed, policy
from vallum.sources.kube.things import Problems, namespace, node, pod


class Read(NamedTuple):
    """One object, read. `space` is empty where the kind has none; `problems`: what of it could not be read.

    No `thing`: not even its name could be. It is an Object, or what else the kind makes of it.
    """

    space: str
    name: str
    version: str
    thing: Any
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `more`: the token of the next, empty on the last."""

    version: str
    more: str
    objects: Callable[[], Iterator[Read]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind. `name` as in `Key`, `resource` as RBAC calls it, `make` where it is none of the world's."""

    name: str
    resource: str
    path: str
    shape: type[Any]
    page: type[Any]
    make: Callable[[Any, Interned, Problems], Any] | None = None


NAMESPACES = Kind("Namespace", "namespaces", "/api/v1/namespaces", wire.Namespace, wire.Page[wire.Namespace])
NODES = Kind("Node", "nodes", "/api/v1/nodes", wire.Node, wire.Page[wire.Node])
PODS = Kind("Pod", "pods", "/api/v1/pods", wire.Pod, wire.Page[wire.Pod])
POLICIES = Kind(
    "Policy", "networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies", wire.Policy, wire.Page[wire.Policy]
)
KINDS = (NAMESPACES, NODES, PODS, POLICIES)
"""Those of the world."""

_Model = Callable[[Any, Interned, Problems], Any]

_bare = msgspec.json.Decoder(wire.Bare).decode
_raw_page = msgspec.json.Decoder(wire.RawPage).decode


class Door:
    """Decodes the objects of one kind. `own`: the node whose pods keep their uid."""

    def __init__(self, kind: Kind, interned: Interned, own: str) -> None:
        self._kind = kind
        self._interned = interned
        self._model = _model(kind, own)
        self._one = msgspec.json.Decoder(kind.shape).decode
        self._page = msgspec.json.Decoder(kind.page).decode

    def page(self, data: bytes) -> Page:
        """A page of a list; its objects are made when asked for. Raises msgspec.DecodeError for what is no list."""
        try:
            found = self._page(data)
        except msgspec.ValidationError:
            raw = _raw_page(data)
            return Page(raw.meta.version, raw.meta.more, lambda: map(self.one, raw.items or ()))
        return Page(found.meta.version, found.meta.more, lambda: map(self._read, found.items or ()))

    def one(self, data: bytes | msgspec.Raw) -> Read:
        """One object. Raises msgspec.DecodeError for what is no JSON."""
        try:
            found = self._one(data)
        except msgspec.ValidationError as error:
            try:
                meta = _bare(data).meta
            except msgspec.ValidationError:
                return Read("", "", "", None, (f"{error}; it is left out",))
            problem = f"{error}; only its metadata is read"
            if self._kind is POLICIES:
                said = (problem, "all that it may select is closed")
                return Read(meta.namespace, meta.name, meta.version, closed(meta), said)
            found = self._one(b'{"metadata":' + _metadata(data) + b"}")
            return self._read(found, problem)
        return self._read(found)

    def _read(self, found: Any, *said: str) -> Read:
        problems: Problems = [*said]
        thing = self._model(found, self._interned, problems)
        meta = found.meta
        return Read(meta.namespace, meta.name, meta.version, thing, tuple(problems))


def _metadata(data: bytes | msgspec.Raw) -> bytes:
    found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return bytes(found["metadata"])


def _model(kind: Kind, own: str) -> _Model:
    if kind.make is not None:
        return kind.make
    if kind is PODS:
        return lambda found, interned, problems: pod(found, interned, problems, own)
    models: dict[Kind, _Model] = {NAMESPACES: namespace, NODES: node, POLICIES: policy}
    return models[kind]
