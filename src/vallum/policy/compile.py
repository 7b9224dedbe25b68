"""Snapshot -> Ruleset of one node: the front end of NetworkPolicy v1 (all of its stances: docs/semantics.md).

An `Engine` remembers what did not change between two snapshots and finds out by comparing them what did; what it
gives depends on the present snapshot only. What this file ignores: how a plane lays the result out, and where the
pods' packets really go.
"""

from collections import Counter
from collections.abc import Mapping
from operator import attrgetter

from vallum.model.address import Packed, by_name, pack
from vallum.model.objects import Namespace, Pod, PodId
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import Tables, classify
from vallum.policy.index import Index, Moved, newest
from vallum.policy.peers import Peers
from vallum.policy.ruleset import Local, Ruleset, Side
from vallum.policy.sets import Sets
from vallum.policy.sides import Sides

_INGRESS, _EGRESS = attrgetter("ingress"), attrgetter("egress")


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
        self._known: dict[PodId, Local] = {}  # sorted
        self._locals: tuple[Local, ...] = ()
        self._hosts: dict[str, frozenset[Packed]] = {}
        self._used: dict[int, Side] = {}
        self._wants: dict[int, tuple[str, ...]] = {}
        self._needed: Counter[str] = Counter()
        self._tables: Tables | None = None

    def compile(self, snapshot: Snapshot) -> tuple[Ruleset, Tables]:
        """The Ruleset and the Tables of this snapshot."""
        ruleset = self.advance(snapshot)
        self._tables = classify(ruleset, self._tables)
        return ruleset, self._tables

    def advance(self, snapshot: Snapshot) -> Ruleset:
        """The Ruleset of this snapshot, which may be older, newer or altogether another than the last."""
        if self._take(snapshot):
            self._locals = tuple(self._known.values())
            sides = [*map(_INGRESS, self._locals), *map(_EGRESS, self._locals)]
            used = dict(zip(map(id, sides), sides, strict=True))
            if used.keys() != self._used.keys():
                self._use(used)
        return Ruleset(self._node, self._locals, Sets(self.index.people, self._peers.shapes.copy()), snapshot.revision)

    def _use(self, used: dict[int, Side]) -> None:
        """The pods have these sides now: forget all that none of them needs. Those before are held until then, so
        that no side can have the identity of another.
        """
        gone = []
        for key in self._used.keys() - used.keys():
            for id_ in self._wants.pop(key):
                self._needed[id_] -= 1
                if not self._needed[id_]:
                    del self._needed[id_]
                    gone.append(id_)
        for key in used.keys() - self._used.keys():
            self._wants[key] = _wants(used[key])
            self._needed.update(self._wants[key])
        self._peers.forget(gone, self._needed)
        self._sides.keep(used)
        self._used = used

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
        untouched = moved.touched.isdisjoint
        again = {id_ for id_, claims in self._claims.items() if not untouched(claims)}
        if rehosted or stale:
            again.update(id_ for id_ in self._mine if rehosted or id_.namespace in stale)
        for old, new in changes:
            if old is not None and old.id in self._mine:
                del self._mine[old.id]
                again.add(old.id)
            if new is not None and self._node in (None, new.node):
                self._mine[new.id] = new
                again.add(new.id)
        came = not again <= self._known.keys()
        for id_ in again:
            self._know(id_)
        if came:
            self._known = dict(sorted(self._known.items()))
        return bool(again)

    def _know(self, id_: PodId) -> None:
        pod = self._mine.get(id_)
        local = None if pod is None else self._local(pod)
        if local is None:
            self._known.pop(id_, None)
        else:
            self._known[id_] = local
        if pod is None:
            self._claims.pop(id_, None)
        else:
            self._claims[id_] = self.index.claims(pod)

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


def living(snapshot: Snapshot, *, by_names: bool) -> list[tuple[Pod, tuple[Packed, ...]]]:
    """Pods that count, sorted by id, each with the addresses it owns."""
    claims = Index(by_names=by_names).claims
    owners: dict[Packed, Pod] = {}
    for pod in snapshot.pods.values():
        for packed in claims(pod):
            owner = owners.get(packed)
            if owner is None or newest(pod) > newest(owner):
                owners[packed] = pod
    found = ((pod, tuple(one for one in claims(pod) if owners[one] is pod)) for _, pod in sorted(snapshot.pods.items()))
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
