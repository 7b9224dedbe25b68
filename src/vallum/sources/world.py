"""A whole world: the objects of all files together, and what only shows when they stand side by side.

Namespaces that are used and not declared exist with only their name label; old forms are read as what they meant
(`modern`). Ignores where the bytes came from (`folder`) and who may talk to whom (`policy`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vallum.model.address import Address, Network, span
from vallum.model.errors import InputError, InputErrors
from vallum.model.objects import NAME_LABEL, Namespace, Object, Pod, Policy
from vallum.model.snapshot import Batch, Event, Gone, Key, Put, Snapshot, key_of, snapshot_of
from vallum.sources.manifest import Claim, Document, Manifest
from vallum.sources.modern import modern
from vallum.sources.old_forms import Note

_ROMANA = "this is a policy in Romana's own form; `vallum convert` writes it as NetworkPolicy"


@dataclass(frozen=True, slots=True)
class World:
    """All objects, the documents they came from, the revision of what was read, and how many were skipped.

    `notes`: what was read as something else than a newcomer would think; nothing is wrong with it.
    """

    objects: tuple[Object, ...]
    documents: tuple[Document, ...]
    revision: str
    skipped: Mapping[str, int]
    notes: tuple[Note, ...] = ()


def assemble(manifests: Sequence[Manifest], revision: str, api: str | None = None) -> World:
    """Join the files of a world; `api` 2016: in the meaning of that time. Raises InputErrors with every problem."""
    documents = [document for manifest in manifests for document in manifest.documents]
    claims = [claim for manifest in manifests for claim in manifest.claims]
    errors = [error for manifest in manifests for error in manifest.errors]
    errors += [InputError(document.place, _ROMANA) for manifest in manifests for document in manifest.romana]
    errors += [*_twice(documents), *_shared_addresses(documents, claims), *_shared_ranges(documents, claims)]
    now = modern(documents, api)
    errors += now.errors
    if errors:
        raise InputErrors(tuple(errors))
    declared = [*(document.thing for document in now.documents if document.thing), *now.denials]
    objects = (*_implied(declared), *declared)
    skipped = Counter(kind for manifest in manifests for kind in manifest.skipped)
    return World(objects, now.documents, revision, dict(sorted(skipped.items())), now.notes)


def events(before: Snapshot | None, world: World) -> Batch:
    """What changed from the snapshot (None: from nothing) to this world."""
    old = _by_key(before) if before else {}
    new = {key_of(thing): thing for thing in world.objects}
    changed: list[Event] = [Put(new[key]) for key in sorted(new) if old.get(key) != new[key]]
    return Batch((*changed, *(Gone(key) for key in sorted(old.keys() - new.keys()))), world.revision)


def snapshot(world: World) -> Snapshot:
    """The world as a snapshot."""
    return snapshot_of(world.objects, world.revision)


def _by_key(before: Snapshot) -> dict[Key, Object]:
    stores: tuple[Mapping[object, Object], ...] = (
        before.namespaces,
        before.nodes,
        before.pools,
        before.pods,
        before.policies,
    )  # type: ignore[assignment]
    return {key_of(thing): thing for store in stores for thing in store.values()}


def _implied(things: Sequence[Object]) -> Iterator[Namespace]:
    declared = {thing.name for thing in things if isinstance(thing, Namespace)}
    used = {thing.id.namespace for thing in things if isinstance(thing, Pod | Policy)}
    for name in sorted(used - declared):
        yield Namespace(name, ((NAME_LABEL, name),))


def _twice(documents: Sequence[Document]) -> Iterator[InputError]:
    first: dict[Key, Document] = {}
    for document in documents:
        known = first.setdefault(_key(document), document)
        if known is not document:
            yield InputError(document.place, _twice_problem(document, known))


def _twice_problem(document: Document, known: Document) -> str:
    kind, namespace, name = _key(document)
    named = f"{namespace}/{name}" if namespace else name
    if document.body["kind"] == known.body["kind"]:
        return f"{document.body['kind']} {named} was declared before, at {known.place}; remove or rename one"
    return (
        f"this {document.body['kind']} stands for the {kind.lower()} {named}, as the {known.body['kind']} "
        f"at {known.place} does; rename one"
    )


def _key(document: Document) -> Key:
    if document.thing:
        return key_of(document.thing)
    meta = document.body["metadata"]
    return (document.body["kind"], meta.get("namespace") or "default", meta["name"])


def _shared_addresses(documents: list[Document], claims: list[tuple[Claim, ...]]) -> Iterator[InputError]:
    """Finished pods have given theirs back, and pods on the host's network share the node's."""
    owners: dict[Address | Network, tuple[Pod, str]] = {}
    for document, claimed in zip(documents, claims, strict=True):
        pod = document.thing
        if not isinstance(pod, Pod) or pod.finished or pod.host_network:
            continue
        for claim in claimed:
            owner, place = owners.setdefault(claim.value, (pod, claim.place))
            if owner.id != pod.id:
                problem = f"{claim.value} is the address of {owner.id} already, at {place}; two pods that run"
                yield InputError(claim.place, f"{problem} cannot share it")


def _shared_ranges(documents: list[Document], claims: list[tuple[Claim, ...]]) -> Iterator[InputError]:
    """Sorted by where they begin, ranges that overlap stand next to each other or inside of an earlier one."""
    ranges = [
        (*span(claim.value), document, claim)
        for document, claimed in zip(documents, claims, strict=True)
        for claim in claimed
        if not isinstance(document.thing, Pod) and not isinstance(claim.value, Address)
    ]
    ranges.sort(key=lambda entry: entry[:2])
    widest = None
    for entry in ranges:
        if widest and entry[0] <= widest[1]:
            problem = f"{entry[3].value} overlaps {widest[3].value} of another node, at {widest[3].place}"
            yield InputError(entry[3].place, f"{problem}; give each node a range of its own")
        if not widest or entry[1] > widest[1]:
            widest = entry
