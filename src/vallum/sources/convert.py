"""A world of old forms written as networking.k8s.io/v1: what `vallum convert` prints.

Documents that need no change stay as they stand, comments included. The meaning is that of reading the same world
(`modern`), so both give the same verdicts. Ignores where it is printed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from vallum.model.errors import InputError
from vallum.model.objects import Policy
from vallum.policy.legacy import modernise
from vallum.sources.encode import manifest
from vallum.sources.files import File, MovedError, read_files
from vallum.sources.manifest import Document, Manifest, place_of, read_manifest
from vallum.sources.marks import Findings, Value, plain
from vallum.sources.modern import Modern, modern
from vallum.sources.old_forms import Note
from vallum.sources.romana import SEGMENT_LABEL, in_v1, tenants
from vallum.sources.romana_schema import policies_in
from vallum.sources.schema import fields_of
from vallum.sources.world import World, assemble
from vallum.sources.write import yaml_of
from vallum.sources.yaml_text import documents

_MARKER = re.compile(r"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE)
_Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """The documents as YAML texts and as data, and what was done to them."""

    texts: tuple[str, ...]
    bodies: tuple[_Body, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One document: its text as it stands (None: its form is not to be kept), and what it holds now."""

    text: str | None
    bodies: tuple[_Body, ...]


def convert(path: str, api: str | None = None, segment_label: str = SEGMENT_LABEL) -> Converted:
    """The world at a path in v1. Raises InputErrors where something is wrong or cannot be said."""
    try:
        files = read_files(path, frozenset(), {})
    except MovedError as error:
        raise InputError(path, "changed while it was read; try again") from error
    read = [Manifest(errors=(file.error,)) if file.error else read_manifest(file.shown, file.data) for file in files]
    world = assemble([replace(each, romana=()) for each in read], "", api)
    documents_ = [document for each in read for document in each.documents]
    old = modern(documents_, api)
    imported = _imported([document for each in read for document in each.romana], world, segment_label)
    now = _Now(old.written | imported.written, {document.place: document.body for document in documents_})
    pieces = [piece for file in files for piece in _pieces(file, now)]
    pieces += [_Piece(None, (manifest(denial),)) for denial in imported.denials]
    return Converted(
        tuple(text for piece in pieces for text in _texts(piece)),
        tuple(chain.from_iterable(piece.bodies for piece in pieces)),
        (*world.notes, *imported.notes),
    )


def _imported(romana: Sequence[Document], world: World, segment_label: str) -> Modern:
    """Romana's own policies, beside what the world has already."""
    taken = {thing.id for thing in world.objects if isinstance(thing, Policy)}
    shut = modernise(tenants(each.body for each in romana), (), taken).denials
    taken |= {denial.id for denial in shut}
    written, notes = {}, []
    for each in romana:
        bodies = written[each.place] = tuple(in_v1(each.body, segment_label, taken))
        names = ", ".join(f"{body['metadata']['namespace']}/{body['metadata']['name']}" for body in bodies)
        notes.append(Note(each.place, f"Romana's policy is written as {names or 'nothing: it is applied to nobody'}"))
    if shut:
        text = f"Romana dropped what no policy admits; {', '.join(str(denial.id) for denial in shut)} keep it so"
        notes.append(Note(romana[0].place, text))
    return Modern((), shut, written, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Now:
    """By place: what old documents are written as, and documents as they were read, kind and all."""

    written: Mapping[str, tuple[_Body, ...]]
    read: Mapping[str, _Body]

    def of(self, value: Value, shown: str) -> tuple[_Body, ...] | None:
        """What a document holds now, None where it is as it was."""
        place = place_of(value, shown)
        if place in self.written:
            return self.written[place]
        if romana := policies_in(value):
            return tuple(chain.from_iterable(self.of(policy, shown) or () for policy in romana))
        items = fields_of(value).get("items")
        if items is None or not isinstance(items.data, tuple):
            return None
        inner = [(item, self.of(item, shown)) for item in items.data]
        if all(found is None for _, found in inner):
            return None
        kept = [body for item, found in inner for body in (found if found is not None else (self._whole(item, shown),))]
        return ({"apiVersion": "v1", "kind": "List", "items": kept},)

    def _whole(self, item: Value, shown: str) -> _Body:
        """An item of a list with its kind, which a typed list says once for all."""
        body: _Body = plain(item)
        return self.read.get(place_of(item, shown), body)


def _pieces(file: File, now: _Now) -> Iterator[_Piece]:
    text = file.data.decode("utf-8-sig")
    values = list(documents(text, Findings(file.shown)))
    json = text.lstrip().startswith(("{", "["))
    texts: Iterable[str | None] = [None] * len(values) if json else _cut(text, values)
    for value, as_it_stands in zip(values, texts, strict=True):
        bodies = now.of(value, file.shown)
        yield _Piece(as_it_stands, (plain(value),)) if bodies is None else _Piece(None, bodies)


def _cut(text: str, values: Iterable[Value]) -> Iterator[str]:
    """The text of each document, with the comments above it. In YAML a marker at the begin of a line is always one."""
    parts, line = iter(_MARKER.split(text)), 1
    for value in values:
        comments = ""
        for part in parts:
            line += part.count("\n")
            if value.spot[0] <= line and _says_something(part):
                yield comments + part.strip("\n ") + "\n"
                break
            comments += "".join(f"{words}\n" for words in part.splitlines() if words.startswith("#"))


def _says_something(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith(("#", "%")) for line in part.splitlines())


def _texts(piece: _Piece) -> Iterator[str]:
    if piece.text is not None:
        yield piece.text
    else:
        yield from map(yaml_of, piece.bodies)
