"""The latest objects of the source, and the immutable Snapshot that they make. One of the four places with state."""

from collections.abc import Mapping
from typing import Any, TypeVar

from vallum.model.objects import Namespace, Node, Pod, PodId, Policy, PolicyId
from vallum.model.snapshot import Batch, Event, Gone, Put, Snapshot

_Thing = TypeVar("_Thing", Namespace, Node)


class World:
    """Applies batches of events. The snapshot depends on the objects that are left, never on the path to them."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def apply(self, batch: Batch) -> Snapshot:
        """The snapshot after these events. Repeated and unknown removals change nothing."""
        pods: dict[PodId, Pod | None] = {}
        policies: dict[PolicyId, Policy | None] = {}
        spaces: dict[str, Namespace | None] = {}
        nodes: dict[str, Node | None] = {}
        tables: dict[str, dict[Any, Any]] = {"Namespace": spaces, "Node": nodes, "Pod": pods, "Policy": policies}
        for event in batch.events:
            _note(tables, event)
        old = self.snapshot
        self.snapshot = Snapshot(
            _changed(old.namespaces, spaces),
            _changed(old.nodes, nodes),
            old.pods.changed(pods),
            old.policies.changed(policies),
            batch.revision,
        )
        return self.snapshot


def _note(tables: dict[str, dict[Any, Any]], event: Event) -> None:
    """The last word on each object: a value, or None for one that is gone."""
    match event:
        case Put(thing=Namespace() | Node() as thing):
            tables[type(thing).__name__][thing.name] = thing
        case Put(thing=Pod() | Policy() as thing):
            tables[type(thing).__name__][thing.id] = thing
        case Gone(key=("Pod", namespace, name)):
            tables["Pod"][PodId(namespace, name)] = None
        case Gone(key=("Policy", namespace, name)):
            tables["Policy"][PolicyId(namespace, name)] = None
        case Gone(key=(kind, _, name)):
            tables[kind][name] = None


def _changed(table: Mapping[str, _Thing], changes: dict[str, _Thing | None]) -> Mapping[str, _Thing]:
    if not changes:
        return table
    merged = {**table, **changes}
    return {name: thing for name, thing in merged.items() if thing is not None}
