"""Snapshot -> Ruleset of one node: the front end of NetworkPolicy v1 (all of its stances: docs/semantics.md).

An `Engine` remembers what did not change between two snapshots and finds out by comparing them what did; what it
gives depends on the present snapshot only. What this file ignores: how a plane lays the result out, and where the
pods' packets really go.
"""

from collections.abc import Mapping
from itertools import chain

from vallum.model.address import Packed, by_name, pack
from vallum.model.objects import Namespace, Pod, PodId
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import Tables, classify
from vallum.policy.index import Index, Moved
from vallum.policy.peers import Peers
from vallum.policy.ruleset import Local, Ruleset, Side
from vallum.policy.sets import Sets
from vallum.policy.sides import Sides


def compile_node(snapshot: Snapshot, node: str | None) -> Ruleset:
    """The Ruleset of `node`; with None every pod is local, which is what questions about files ask.

    Pods on hostNetwork and finished pods are neither subjects nor peers (stances 6 and 7). A pod without an
    address waits; with `node` None it is judged by name.
    """
    return Engine(node).advance(snapshot)


class Engine:
    """Compiles the snapshots of one node, each from what it knows of the one before. Not for two threads at once."""

    def __init__(self, node: str | None) -> None:
        self.index = Index(by_names=node is None)
        self._node = node
        self._snapshot = Snapshot()
        self._peers = Peers(self.index)
        self._sides = Sides(self.index, self._peers)
        self._mine: dict[PodId, Pod] = {}
        self._claims: dict[PodId, tuple[Packed, ...]] = {}
        self._known: dict[PodId, Local] = {}
        self._locals: tuple[Local, ...] = ()
        self._hosts: dict[str, frozenset[Packed]] = {}
        self._used: dict[int, Side] | None = None
        self._wants: dict[int, tuple[str, ...]] = {}
        self._needed: tuple[str, ...] = ()
        self._tables: Tables | None = None

    def compile(self, snapshot: Snapshot) -> tuple[Ruleset, Tables]:
        """The Ruleset and the Tables of this snapshot."""
        ruleset = self.advance(snapshot)
        self._tables = classify(ruleset, self._tables)
        return ruleset, self._tables

    def advance(self, snapshot: Snapshot) -> Ruleset:
        """The Ruleset of this snapshot, which may be older, newer or altogether another than the last."""
        if self._take(snapshot) or self._used is None:
            self._locals = tuple(self._known[id_] for id_ in sorted(self._known))
            used = {id(side): side for local in self._locals for side in (local.ingress, local.egress)}
            if self._used is None or used.keys() != self._used.keys():
                self._wants = {key: self._wants.get(key) or _wants(side) for key, side in used.items()}
                needed = dict.fromkeys(chain.from_iterable(self._wants.values()))
                self._needed = tuple(needed)
                self._peers.keep(needed)
                self._sides.keep(used.values())
                self._used = used
        return Ruleset(self._node, self._locals, self._sets(self._needed), snapshot.revision)

    def _take(self, snapshot: Snapshot) -> bool:
        """Bring all that is known up to a snapshot. Reports whether anything about a local pod may have changed."""
        before, self._snapshot = self._snapshot, snapshot
        changes = list(snapshot.pods.since(before.pods))
        moved = self.index.update(changes) if changes else Moved()
        relabelled = _differing(before.namespaces, snapshot.namespaces)
        self._peers.follow(moved, snapshot.namespaces, relabelled)
        stale = self._sides.renew(snapshot.policies, moved, relabelled=bool(relabelled))
        rehosted = before.nodes is not snapshot.nodes
        if rehosted:
            self._hosts.clear()
        again = {
            id_
            for id_, pod in self._mine.items()
            if rehosted or pod.id.namespace in stale or not moved.touched.isdisjoint(self._claims[id_])
        }
        for old, new in changes:
            if old is not None and old.id in self._mine:
                del self._mine[old.id]
                again.add(old.id)
            if new is not None and self._node in (None, new.node):
                self._mine[new.id] = new
                again.add(new.id)
        for id_ in again:
            self._know(id_)
        return bool(again)

    def _know(self, id_: PodId) -> None:
        self._known.pop(id_, None)
        self._claims.pop(id_, None)
        pod = self._mine.get(id_)
        if pod is not None:
            self._claims[id_] = self.index.claims(pod)
            local = self._local(pod)
            if local is not None:
                self._known[id_] = local

    def _local(self, pod: Pod) -> Local | None:
        """The pod with its sides, None where it has no address (stances 6 and 7)."""
        addresses = self.index.addresses(pod)
        if not addresses:
            return None
        ingress, egress = self._sides.of(self.index.number(pod))
        return Local(pod.id, addresses, ingress, egress, self._host(pod.node))

    def _host(self, node: str | None) -> frozenset[Packed]:
        """The addresses that are local to a node."""
        if node is None:
            return frozenset()
        found = self._hosts.get(node)
        if found is None:
            found = self._hosts[node] = host_of(self._snapshot, node)
        return found

    def _sets(self, ids: tuple[str, ...]) -> Sets:
        shapes = self._peers.shapes
        return Sets(self.index.people, dict(shapes) if len(ids) == len(shapes) else {id_: shapes[id_] for id_ in ids})


def living(snapshot: Snapshot, *, by_names: bool) -> list[tuple[Pod, tuple[Packed, ...]]]:
    """Pods that count, sorted by id, each with the addresses it owns."""
    index = Index(by_names=by_names)
    index.update((None, pod) for pod in snapshot.pods.values())
    found = ((pod, index.addresses(pod)) for _, pod in sorted(snapshot.pods.items()))
    return [(pod, addresses) for pod, addresses in found if addresses]


def host_of(snapshot: Snapshot, node: str) -> frozenset[Packed]:
    """The addresses that are local to a node."""
    known = snapshot.nodes.get(node)
    return frozenset(map(pack, known.addresses if known else ())) | {node_by_name(node)}


def node_by_name(node: str) -> Packed:
    """The stand-in address of a node, for files that have hostNetwork pods but no Node objects."""
    return by_name(f"node {node}")


def _wants(side: Side) -> tuple[str, ...]:
    """The peer sets that the rules of a side name."""
    return tuple(dict.fromkeys(id_ for rule in side.rules for id_ in rule.peers or ()))


def _differing(before: Mapping[str, Namespace], after: Mapping[str, Namespace]) -> list[str]:
    """The names of the namespaces that are not as they were."""
    if before is after:
        return []
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]
