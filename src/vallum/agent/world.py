"""The latest objects of the source, and the immutable Snapshot that they make. One of the four places with state.

A pod that our CNI has wired on this node has the addresses that it was wired with, from that moment on: the API tells
them only later, and somebody else's word on them does not count.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vallum.cni.attached import shortened
from vallum.model.attachment import PodAttachment
from vallum.model.objects import Namespace, Node, Pod, PodId, Policy, PolicyId, Pool
from vallum.model.snapshot import Batch, Event, Gone, Put, Snapshot

if TYPE_CHECKING:
    from vallum.agent.territory import Territory

_Thing = TypeVar("_Thing", Namespace, Node, Pool)


class World:
    """Applies batches of events. The snapshot depends on the objects that are left, never on the path to them."""

    def __init__(self, node: str = "") -> None:
        self.snapshot = Snapshot()
        self._node = node
        self._told: dict[PodId, Pod] = {}
        self._attached: list[PodAttachment] = []
        self._territory: Territory | None = None

    def lay(self, territory: "Territory") -> bool:
        """From now on these are the ranges and groups of nodes, and the pools, whatever their objects say. Reports a
        change.
        """
        before, self._territory = self._territory, territory
        nodes = {name: self._placed(node) for name, node in self.snapshot.nodes.items()}
        if nodes != self.snapshot.nodes:
            self.snapshot = replace(self.snapshot, nodes=nodes)
        if territory.pools != self.snapshot.pools:
            self.snapshot = replace(self.snapshot, pools=territory.pools)
        return territory != before

    def apply(self, batch: Batch) -> Snapshot:
        """The snapshot after these events. Repeated and unknown removals change nothing."""
        pods: dict[PodId, Pod | None] = {}
        policies: dict[PolicyId, Policy | None] = {}
        spaces: dict[str, Namespace | None] = {}
        nodes: dict[str, Node | None] = {}
        pools: dict[str, Pool | None] = {}
        tables: dict[str, dict[Any, Any]] = {
            "Namespace": spaces, "Node": nodes, "Pool": pools, "Pod": pods, "Policy": policies,
        }  # fmt: skip
        for event in batch.events:
            _note(tables, event)
        old = self.snapshot
        self.snapshot = Snapshot(
            _changed(old.namespaces, spaces),
            _changed(old.nodes, {name: node and self._placed(node) for name, node in nodes.items()}),
            old.pods.changed(self._dressed(pods)),
            old.policies.changed(policies),
            batch.revision,
            _changed(old.pools, pools) if self._territory is None else old.pools,
        )
        return self.snapshot

    def attach(self, attachment: PodAttachment) -> None:
        """From now on this pod has these addresses, once the source tells of it."""
        self._attached.append(attachment)
        self._redress(attachment)

    def detach(self, attachment: PodAttachment) -> None:
        """The pod has them no longer: known by its container, or by the link. Unknown ones change nothing."""
        mine = (attachment.container, attachment.ifname)
        gone = [
            each
            for each in self._attached
            if (each.container, each.ifname) == mine or each.interface == attachment.interface
        ]
        for each in gone:
            self._attached.remove(each)
            self._redress(each)

    def knows(self, attachment: PodAttachment) -> bool:
        """Reports whether the source tells of the pod that this attachment is for, and not of an earlier one."""
        return self._pod_of(attachment) is not None

    def _placed(self, node: Node) -> Node:
        if self._territory is None:
            return node
        found = self._territory.members.get(node.name)
        return replace(node, pod_ranges=found.ranges if found else (), groups=found.groups if found else ())

    def _pod_of(self, attachment: PodAttachment) -> Pod | None:
        return next((pod for pod in self._told.values() if _is_for(attachment, pod)), None)

    def _redress(self, attachment: PodAttachment) -> None:
        pod = self._pod_of(attachment)
        if pod is not None:
            self.snapshot = replace(self.snapshot, pods=self.snapshot.pods.changed({pod.id: self._dress(pod)}))

    def _dressed(self, pods: dict[PodId, Pod | None]) -> dict[PodId, Pod | None]:
        """What the source told of the pods of this node is kept, since attachments come and go beside it."""
        found = {}
        for id_, pod in pods.items():
            if pod is None or pod.node != self._node:
                self._told.pop(id_, None)
                found[id_] = pod
            else:
                self._told[id_] = pod
                found[id_] = self._dress(pod)
        return found

    def _dress(self, pod: Pod) -> Pod:
        """The youngest attachment counts: a runtime may wire a new sandbox before it takes the old one down."""
        mine = [attachment for attachment in self._attached if _is_for(attachment, pod)]
        return replace(pod, addresses=mine[-1].addresses) if mine else pod


def _is_for(attachment: PodAttachment, pod: Pod) -> bool:
    """A runtime that tells no uid means the pod of that name, of which the kernel may have kept a short form only."""
    same = attachment.pod in {pod.id, shortened(pod.id)}
    return same and (not attachment.uid or not pod.uid or attachment.uid == pod.uid)


def _note(tables: dict[str, dict[Any, Any]], event: Event) -> None:
    """The last word on each object: a value, or None for one that is gone."""
    match event:
        case Put(thing=Namespace() | Node() | Pool() as thing):
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
