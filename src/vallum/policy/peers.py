"""Which addresses a peer stands for: selectors and ipBlocks resolved to shared, named peer sets.

A set is named by a hash of its selector, not of its members, so it keeps its name while pods come and go.
"""

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b

from vallum.model.address import Packed, span
from vallum.model.objects import Block, Peer, Pod
from vallum.model.selector import EVERYTHING, Labels, Operator, Selector
from vallum.model.snapshot import Snapshot
from vallum.policy.ruleset import PeerSet
from vallum.policy.selectors import matches

Span = tuple[Packed, Packed]
Owned = tuple[Pod, tuple[Packed, ...]]


def digest(*parts: str) -> str:
    """A short stable name for what the parts say. Eight bytes; collisions are refused where names meet."""
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


class Peers:
    """Resolves peers against one snapshot; `sets` collects every set that was asked for, by id."""

    def __init__(self, snapshot: Snapshot, pods: list[Owned]) -> None:
        self.sets: dict[str, PeerSet] = {}
        self._snapshot = snapshot
        self._pods = pods
        self._kinds: dict[str, dict[Labels, list[Packed]]] = {}
        self._labelled: dict[tuple[str, str, str], list[Labels]] = {}
        for pod, addresses in pods:
            kinds = self._kinds.setdefault(pod.id.namespace, {})
            if pod.labels not in kinds:
                for key, value in pod.labels:
                    self._labelled.setdefault((pod.id.namespace, key, value), []).append(pod.labels)
            kinds.setdefault(pod.labels, []).extend(addresses)

    def of(self, peer: Peer, namespace: str) -> str:
        """The id of the set of a peer of a policy in `namespace`. A peer that says nothing matches nothing."""
        block = peer.block
        if block is not None:
            return self._keep(f"block {_block_text(block)}", lambda: ((), _spans(block)))
        if peer.pods is None and peer.namespaces is None:
            return self._keep("nothing", lambda: ((), ()))
        pods = peer.pods or EVERYTHING
        where = f"in {namespace}" if peer.namespaces is None else f"in namespaces {peer.namespaces}"
        return self._keep(f"pods {pods} {where}", lambda: (self._select(peer, pods, namespace), ()))

    def with_port(self, ids: tuple[str, ...] | None, name: str, protocol: int) -> Iterable[tuple[int, str]]:
        """(number, set id) for each number that pods among these peers give to a named port (stance 10)."""
        members: dict[int, set[Packed]] = {}
        for pod, addresses in self._pods:
            inside = [packed for packed in addresses if ids is None or self._any(ids, packed)]
            for port in pod.ports:
                if inside and (port.name, port.protocol) == (name, protocol):
                    members.setdefault(port.number, set()).update(inside)
        among = "any" if ids is None else " or ".join(self.sets[id_].text for id_ in ids)
        for number, chosen in sorted(members.items()):
            text = f"{among}, whose {name}/{protocol} is {number}"
            yield number, self._keep(text, partial(_exactly, chosen))

    def _any(self, ids: tuple[str, ...], packed: Packed) -> bool:
        return any(packed in self.sets[id_] for id_ in ids)

    def _select(self, peer: Peer, pods: Selector, namespace: str) -> list[Packed]:
        if peer.namespaces is None:
            names = [namespace]
        else:
            spaces = self._snapshot.namespaces.values()
            names = [space.name for space in spaces if matches(peer.namespaces, dict(space.labels))]
        return [
            packed
            for name in names
            for labels in self._candidates(name, pods)
            if matches(pods, dict(labels))
            for packed in self._kinds[name][labels]
        ]

    def _candidates(self, namespace: str, selector: Selector) -> Iterable[Labels]:
        """Kinds that may match: those under the selector's rarest anchor, a label that must have given values."""
        anchors = [
            [
                kind
                for value in requirement.values
                for kind in self._labelled.get((namespace, requirement.key, value), ())
            ]
            for requirement in selector.requirements
            if requirement.operator is Operator.IN
        ]
        if not anchors:
            return self._kinds.get(namespace, {})
        return min(anchors, key=len)

    def _keep(self, text: str, members: Callable[[], tuple[Iterable[Packed], tuple[Span, ...]]]) -> str:
        id_ = digest(text)
        if id_ not in self.sets:
            addresses, spans = members()
            self.sets[id_] = PeerSet(id_, text, frozenset(addresses), spans)
        elif self.sets[id_].text != text:
            raise AssertionError(f"two peer sets are named {id_}: {text!r} and {self.sets[id_].text!r}")
        return id_


def _exactly(addresses: set[Packed]) -> tuple[Iterable[Packed], tuple[Span, ...]]:
    return addresses, ()


def _block_text(block: Block) -> str:
    return str(block.network) + "".join(f" except {net}" for net in block.excepts)


def _spans(block: Block) -> tuple[Span, ...]:
    """The block less its exceptions, as disjoint sorted ranges. An exception outside the block cuts nothing."""
    first, last = span(block.network)
    found: list[Span] = []
    for low, high in sorted(span(net) for net in block.excepts):
        if high < first or low > last:
            continue
        if low > first:
            found.append((first, Packed(low - 1)))
        first = max(first, Packed(high + 1))
    if first <= last:
        found.append((first, last))
    return tuple(found)
