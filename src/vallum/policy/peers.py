"""Which kinds a peer stands for: selectors and ipBlocks resolved to shared, named shapes that follow the cluster.

A set is named by a hash of its selector, not of its members, so it keeps its name while pods come and go. A kind
that appears is tested only against sets whose anchor it carries (an inverted index), not against all.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

from pyroaring import BitMap

from vallum.model.address import Network, Packed, pack, show, span
from vallum.model.objects import Block, Namespace, Peer
from vallum.model.selector import EVERYTHING, Operator, Selector
from vallum.policy.index import NOBODY, Index, Kind, Moved
from vallum.policy.selectors import matches
from vallum.policy.sets import Shape, Span

_AFRESH = 64
"""When more kinds than this come and go at once, evaluating every selector again is quicker than following."""

_IN = Operator.IN
"""By its own name, because Python 3.11 looks members up slowly."""

Anchor = tuple[str, ...]


def digest(*parts: str) -> str:
    """A short stable name for what the parts say. Eight bytes; collisions are refused where names meet."""
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


class _Origin(NamedTuple):
    """The selectors behind a shape. `spaces` None: the policy's own namespace, which is empty otherwise."""

    pods: Selector
    spaces: Selector | None
    namespace: str

    def anchors(self) -> list[Anchor]:
        """Where a kind has to look for this origin: one of these is true of every kind that it selects."""
        if self.spaces is None:
            return [("namespace", self.namespace)]
        for requirement in self.pods.requirements:
            if requirement.operator is _IN:
                return [("label", requirement.key, value) for value in requirement.values]
        return [("anywhere",)]


class Peers:
    """The shapes that were asked for, by id, kept true while kinds and namespaces change."""

    def __init__(self, index: Index) -> None:
        self.shapes: dict[str, Shape] = {}
        self._index = index
        self._spaces: Mapping[str, Namespace] = {}
        self._carrying: dict[tuple[str, str], set[str]] = {}
        self._origins: dict[str, _Origin] = {}
        self._ids: dict[str, str] = {}
        self._fresh: list[str] = []
        self._anchored: dict[Anchor, dict[str, None]] = {}
        self._names: dict[Selector, frozenset[str]] = {}
        self._meant: dict[Selector, BitMap] = {}

    def of(self, peer: Peer, namespace: str) -> str:
        """The id of the set of a peer of a policy in `namespace`. A peer that says nothing matches nothing."""
        block = peer.block
        if block is not None:
            text = f"block {_block_text(block)}"
            id_ = self._id(text)
            if id_ not in self.shapes:
                self.shapes[id_] = Shape(id_, text, spans=_spans(block))
            return id_
        if peer.pods is None and peer.namespaces is None:
            return self._put(Shape(self._id("nothing"), "nothing"))
        pods = peer.pods or EVERYTHING
        where = f"in {namespace}" if peer.namespaces is None else f"in namespaces {peer.namespaces!s}"
        text = f"pods {pods!s} {where}"
        id_ = self._id(text)
        if id_ not in self.shapes:
            origin = _Origin(pods, peer.namespaces, namespace if peer.namespaces is None else "")
            self._origins[id_] = origin
            for anchor in origin.anchors():
                anchored = self._anchored.get(anchor)
                if anchored is None:
                    anchored = self._anchored[anchor] = {}
                anchored[id_] = None
            self.shapes[id_] = Shape(id_, text, self._select(origin))
        return id_

    def with_port(self, ids: tuple[str, ...] | None, name: str, protocol: int) -> Iterable[tuple[int, str]]:
        """(number, set id) for each number that pods among these peers give to a named port (stance 10)."""
        among = "any" if ids is None else " or ".join(self.shapes[id_].text for id_ in ids)
        chosen = [self.shapes[id_] for id_ in ids or ()]
        inside = merged(span for shape in chosen for span in shape.spans)
        asked = BitMap.union(NOBODY, *(shape.kinds for shape in chosen))
        for number, having in sorted(self._index.named(name, protocol).items()):
            kinds = BitMap(having) if ids is None else having & asked
            guarded = having - kinds if inside else NOBODY
            if kinds or guarded:
                text = f"{among}, whose {name}/{protocol} is {number}"
                yield number, self._put(Shape(self._id(text), text, kinds, (), guarded, inside))

    def forget(self, ids: Iterable[str], needed: Container[str]) -> None:
        """Forget these sets, and those that came since the last time, as far as they are not needed."""
        gone = [id_ for id_ in {*ids, *self._fresh} if id_ not in needed]
        self._fresh.clear()
        for id_ in gone:
            del self._ids[self.shapes.pop(id_).text]
            origin = self._origins.pop(id_, None)
            for anchor in origin.anchors() if origin else ():
                del self._anchored[anchor][id_]
                if not self._anchored[anchor]:
                    del self._anchored[anchor]
        if len(self._names) > len(self._origins):
            meant = {origin.spaces for origin in self._origins.values()}
            self._names = {selector: names for selector, names in self._names.items() if selector in meant}
            self._meant.clear()

    def follow(self, moved: Moved, spaces: Mapping[str, Namespace], relabelled: Collection[str]) -> None:
        """Bring the shapes up to kinds that came and went, and to namespaces whose labels changed.

        Those of named ports follow when `with_port` is asked again, as it must be where a kind with such a port moved.
        """
        self._relabel(spaces, relabelled)
        self._meant.clear()
        stale = self._rename(relabelled) if relabelled else set()
        if len(moved.born) + len(moved.died) > _AFRESH:
            stale = set(self._origins)
        for number, kind in moved.died:
            for id_ in self._selecting(kind):
                shape = self.shapes[id_]
                if number in shape.kinds and id_ not in stale:
                    self.shapes[id_] = shape.of(shape.kinds - BitMap([number]))
        for number in moved.born:
            for id_ in self._selecting(self._index.kinds[number]):
                if id_ not in stale:
                    shape = self.shapes[id_]
                    self.shapes[id_] = shape.of(shape.kinds | BitMap([number]))
        for id_ in stale:
            self._put(self.shapes[id_].of(self._select(self._origins[id_])))

    def select(self, pods: Selector, namespace: str) -> BitMap:
        """The kinds of one namespace that a selector means."""
        return self._index.select(pods, self._index.space(namespace))

    def _put(self, shape: Shape) -> str:
        """Keep a shape; one that says the same as before stays the very same object."""
        if self.shapes.get(shape.id) != shape:
            self.shapes[shape.id] = shape
        return shape.id

    def _id(self, text: str) -> str:
        """The name of the set that the text describes, which has to be put under it."""
        id_ = self._ids.get(text)
        if id_ is None:
            id_ = digest(text)
            if id_ in self.shapes:
                raise AssertionError(f"two peer sets are named {id_}: {text!r} and {self.shapes[id_].text!r}")
            self._ids[text] = id_
            self._fresh.append(id_)
        return id_

    def _relabel(self, spaces: Mapping[str, Namespace], relabelled: Iterable[str]) -> None:
        """Keep the index of namespaces by label."""
        for name in relabelled:
            for pair in self._spaces[name].labels if name in self._spaces else ():
                self._carrying[pair].discard(name)
                if not self._carrying[pair]:
                    del self._carrying[pair]
            for pair in spaces[name].labels if name in spaces else ():
                self._carrying.setdefault(pair, set()).add(name)
        self._spaces = spaces

    def _rename(self, relabelled: Collection[str]) -> set[str]:
        """The sets whose namespaces are other ones now that the labels of these changed."""
        changed = set()
        for selector, names in list(self._names.items()):
            now = names.difference(relabelled) | frozenset(
                name
                for name in relabelled
                if name in self._spaces and matches(selector, dict(self._spaces[name].labels))
            )
            if now != names:
                self._names[selector] = now
                changed.add(selector)
        return {id_ for id_, origin in self._origins.items() if origin.spaces in changed} if changed else set()

    def _selecting(self, kind: Kind) -> Iterator[str]:
        """The sets that mean kinds like this one."""
        labels, namespace = dict(kind.labels), kind.namespace
        anchors: list[Anchor] = [("namespace", namespace), ("anywhere",)]
        anchors += [("label", key, value) for key, value in kind.labels]
        for anchor in anchors:
            for id_ in self._anchored.get(anchor, ()):
                pods, spaces, _ = self._origins[id_]
                if (spaces is None or namespace in self._names[spaces]) and matches(pods, labels):
                    yield id_

    def _select(self, origin: _Origin) -> BitMap:
        if origin.spaces is None:
            found = self._index.space(origin.namespace)
        else:
            meant = self._meant.get(origin.spaces)
            if meant is None:
                meant = self._meant[origin.spaces] = self._index.inside(self._named(origin.spaces))
            found = meant
        chosen = self._index.select(origin.pods, found)
        return BitMap(chosen) if chosen is found else chosen

    def _named(self, selector: Selector) -> frozenset[str]:
        """The namespaces that a selector means."""
        found = self._names.get(selector)
        if found is None:
            found = frozenset(
                name for name in self._candidates(selector) if matches(selector, dict(self._spaces[name].labels))
            )
            self._names[selector] = found
        return found

    def _candidates(self, selector: Selector) -> Iterable[str]:
        """The namespaces that may match: those under one label that must have given values, if there is one."""
        for requirement in selector.requirements:
            if requirement.operator is _IN:
                return {
                    name for value in requirement.values for name in self._carrying.get((requirement.key, value), ())
                }
        return self._spaces


def _block_text(block: Block) -> str:
    return _text(block.network) + "".join(f" except {_text(net)}" for net in block.excepts)


def _text(network: Network) -> str:
    """As `str` gives it, in a third of the time."""
    return f"{show(pack(network.network_address))}/{network.prefixlen}"


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


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Overlapping ranges as disjoint sorted ones."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
