"""The world at one instant, frozen, and the events that lead from one to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vallum.model.objects import Namespace, Node, Object, Pod, PodId, Policy, PolicyId, Pool
from vallum.model.spaces import Spaces

Key = tuple[str, str, str]
"""(kind, namespace or "", name)."""


def key_of(thing: Object) -> Key:
    """The key under which an object is stored."""
    match thing:
        case Pod() | Policy():
            return (type(thing).__name__, thing.id.namespace, thing.id.name)
        case Namespace() | Node() | Pool():
            return (type(thing).__name__, "", thing.name)


@dataclass(frozen=True, slots=True)
class Put:
    """An object appeared or changed."""

    thing: Object


@dataclass(frozen=True, slots=True)
class Gone:
    """An object is no longer there."""

    key: Key


Event = Put | Gone


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that belong together, and the revision of the source that they lead to."""

    events: tuple[Event, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects by id. Treated as immutable: whoever makes one hands over its dicts for good."""

    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    pods: Spaces[PodId, Pod] = field(default_factory=lambda: Spaces({}))
    policies: Spaces[PolicyId, Policy] = field(default_factory=lambda: Spaces({}))
    revision: str = ""
    pools: Mapping[str, Pool] = field(default_factory=dict)


def snapshot_of(things: "list[Object] | tuple[Object, ...]", revision: str = "") -> Snapshot:
    """A snapshot of these objects. A later object of the same key replaces an earlier one."""
    return Snapshot(
        {thing.name: thing for thing in things if isinstance(thing, Namespace)},
        {thing.name: thing for thing in things if isinstance(thing, Node)},
        Spaces.of(thing for thing in things if isinstance(thing, Pod)),
        Spaces.of(thing for thing in things if isinstance(thing, Policy)),
        revision,
        {thing.name: thing for thing in things if isinstance(thing, Pool)},
    )
