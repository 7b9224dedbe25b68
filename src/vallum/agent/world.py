"""The latest objects of the source, and the immutable Snapshot that they make. One of the four places with state."""

from dataclasses import replace
from typing import Any

from vallum.model.objects import Namespace, Node, Pod, PodId, Policy, PolicyId
from vallum.model.snapshot import Batch, Event, Gone, Put, Snapshot


class World:
    """Applies batches of events. The snapshot depends on the objects that are left, never on the path to them."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def apply(self, batch: Batch) -> Snapshot:
        """The snapshot after these events. Repeated and unknown removals change nothing."""
        namespaces: dict[str, Namespace] = dict(self.snapshot.namespaces)
        nodes: dict[str, Node] = dict(self.snapshot.nodes)
        pods: dict[PodId, Pod] = dict(self.snapshot.pods)
        policies: dict[PolicyId, Policy] = dict(self.snapshot.policies)
        tables: dict[str, Any] = {"Namespace": namespaces, "Node": nodes, "Pod": pods, "Policy": policies}
        for event in batch.events:
            _apply(tables, event)
        self.snapshot = replace(
            self.snapshot,
            namespaces=namespaces,
            nodes=nodes,
            pods=pods,
            policies=policies,
            revision=batch.revision,
        )
        return self.snapshot


def _apply(tables: dict[str, Any], event: Event) -> None:
    match event:
        case Put(thing=Namespace() | Node() as thing):
            tables[type(thing).__name__][thing.name] = thing
        case Put(thing=Pod() | Policy() as thing):
            tables[type(thing).__name__][thing.id] = thing
        case Gone(key=("Pod", namespace, name)):
            tables["Pod"].pop(PodId(namespace, name), None)
        case Gone(key=("Policy", namespace, name)):
            tables["Policy"].pop(PolicyId(namespace, name), None)
        case Gone(key=(kind, _, name)):
            tables[kind].pop(name, None)
