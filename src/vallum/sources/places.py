"""Where in a folder a finding stands: an object and a path in it -> file, line and column; and ignore comments.

Reading a world forgets the marks of its values, so a document is read again with them when something is found in
it, and only then. Ignores what the findings say.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vallum.analysis.lint.finding import Path
from vallum.analysis.lint.ignores import Comment, Place
from vallum.model.errors import InputError, InputErrors
from vallum.model.snapshot import Key, key_of
from vallum.model.uncollected import uncollected
from vallum.sources.files import File, MovedError, read_files
from vallum.sources.manifest import Document, Manifest, manifest_of
from vallum.sources.marks import Findings, Spot, Value
from vallum.sources.world import World, assemble
from vallum.sources.yaml_text import documents

_TRIES = 10
_MARKER = re.compile(r"^(?:---|\.\.\.)(?:\s|$)")
_IGNORE = re.compile(r"(?:^|(?<=\s))#[ \t]*vallum:[ \t]*ignore\b[ \t]*(\S*)[ \t]*(.*?)[ \t\r]*$")
_PLACE = re.compile(r"(.+):([0-9]+):([0-9]+)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of a world, all that could not, and the text of its files as messages call them."""

    world: World
    errors: tuple[InputError, ...]
    texts: Mapping[str, str]


def read(path: str, api: str | None = None) -> Reading:
    """Read a folder, a file, or `-` for stdin, as far as it goes. Raises InputError where there is nothing to read."""
    for _ in range(_TRIES):
        try:
            return _reading(read_files(path, frozenset(), {}), api)
        except MovedError:
            continue
    raise InputError(path, "changes faster than it can be read; wait and try again")


def _reading(files: Sequence[File], api: str | None) -> Reading:
    with uncollected():
        world, errors = _assembled([manifest_of(file) for file in files], api)
    texts = {file.shown: file.data.decode("utf-8-sig", errors="replace") for file in files}
    return Reading(world, errors, texts)


def _assembled(manifests: Sequence[Manifest], api: str | None) -> tuple[World, tuple[InputError, ...]]:
    """The world without what is wrong, and that. What only shows side by side is found when the rest is right."""
    found: list[InputError] = []
    while True:
        try:
            return assemble(manifests, "", api), tuple(found)
        except InputErrors as errors:
            if {*errors.errors} <= {*found}:
                raise
            found += errors.errors
            wrong = {error.place for error in errors.errors}
            manifests = [_without(manifest, wrong) for manifest in manifests]


def _without(manifest: Manifest, wrong: set[str]) -> Manifest:
    pairs = [
        (document, claims)
        for document, claims in zip(manifest.documents, manifest.claims, strict=True)
        if document.place not in wrong and not any(claim.place in wrong for claim in claims)
    ]
    kept = tuple(document for document, _ in pairs)
    return replace(manifest, documents=kept, claims=tuple(claims for _, claims in pairs), romana=(), errors=())


@dataclass(slots=True)
class Places:
    """Finds places in the files of one reading."""

    reading: Reading
    _at: dict[Key, Place] = field(default_factory=dict)
    _lines: dict[str, list[str]] = field(default_factory=dict)
    _values: dict[Place, Value | None] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._at = {_key(document): _place(document.place) for document in self.reading.world.documents}

    def of(self, key: Key, path: Path) -> Place:
        """Where this path of an object is written, or the nearest place above it.

        A policy that stands for the annotation of a namespace is written at that namespace.
        """
        start = self._at.get(key) or self._at[("Namespace", "", key[1])]
        value = self._value(start)
        if value is None:
            return start
        spot, above = value.spot, start.line - value.spot[0]
        for step in path:
            found = _step(value, step)
            if found is None:
                break
            spot, value = found
        return Place(start.file, spot[0] + above, spot[1])

    def _value(self, at: Place) -> Value | None:
        if at not in self._values and at.column == 1 and at.file not in self._whole:
            self._values[at] = self._alone(at)
        if self._values.get(at) is None and at.file not in self._whole:
            self._whole.add(at.file)
            for value in documents(self.reading.texts[at.file], Findings(at.file)):
                self._values.update((Place(at.file, *one.spot), one) for one in _objects(value))
        return self._values.get(at)

    def _alone(self, at: Place) -> Value | None:
        """The document that begins in this line, read without the rest of its file; its lines count from 1."""
        lines = self._lines.setdefault(at.file, self.reading.texts[at.file].split("\n"))
        end = next((number for number in range(at.line, len(lines)) if _MARKER.match(lines[number])), len(lines))
        text = "\n".join(lines[at.line - 1 : end])
        return next(documents(text, Findings(at.file)), None)

    def comments(self) -> Iterator[Comment]:
        """Every ignore comment of the files. JSON has no comments."""
        for file, text in self.reading.texts.items():
            if "vallum:" in text and not file.endswith(".json"):
                yield from _comments(file, text.split("\n"))


def _place(text: str) -> Place:
    found = _PLACE.fullmatch(text)
    assert found, "a document has a file, a line and a column"
    return Place(found[1], int(found[2]), int(found[3]))


def _key(document: Document) -> Key:
    if document.thing:
        return key_of(document.thing)
    meta = document.body["metadata"]
    return (document.body["kind"], meta.get("namespace") or "default", meta["name"])


def _objects(value: Value) -> Iterator[Value]:
    """A document, and the objects in it where it is a list."""
    yield value
    items = value.data.get("items") if isinstance(value.data, Mapping) else None
    for item in items.data if items and isinstance(items.data, tuple) else ():
        yield from _objects(item)


def _step(value: Value, step: str | int) -> tuple[Spot, Value] | None:
    """One step down: collections stand where their key does, single values where they are written."""
    data = value.data
    if isinstance(step, int):
        found = data[step] if isinstance(data, tuple) and step < len(data) else None
        return (found.spot, found) if found else None
    if not isinstance(data, Mapping):
        return None
    if step in data:
        inner = data[step]
        spot = value.keys[step] if isinstance(inner.data, tuple | Mapping) else inner.spot
        return spot, inner
    return _label(data, step)


def _label(selector: Mapping[str, Value], key: str) -> tuple[Spot, Value] | None:
    """A label of a selector, in whichever of its two lists it stands."""
    labels, expressions = selector.get("matchLabels"), selector.get("matchExpressions")
    if labels and isinstance(labels.data, Mapping) and key in labels.data:
        return labels.keys[key], labels.data[key]
    for entry in expressions.data if expressions and isinstance(expressions.data, tuple) else ():
        if isinstance(entry.data, Mapping) and entry.data["key"].data == key:
            return entry.spot, entry
    return None


def _comments(file: str, lines: Sequence[str]) -> Iterator[Comment]:
    top = True
    for number, line in enumerate(lines, start=1):
        bare = line.strip()
        if _MARKER.match(line):
            top = True
        elif bare and not bare.startswith("#"):
            top = False
        found = _IGNORE.search(line) if "vallum:" in line else None
        if found and not _quoted(line[: found.start()]):
            alone = bare.startswith("#")
            first = _next(lines, number) if alone else number
            last = _last(lines, first) if alone and top else first
            yield Comment(Place(file, number, found.start() + 1), first, last, found[1], found[2])


def _quoted(before: str) -> bool:
    return before.count('"') % 2 == 1 or before.count("'") % 2 == 1


def _next(lines: Sequence[str], number: int) -> int:
    """The first line after this one that is neither empty nor a comment."""
    for later in range(number, len(lines)):
        bare = lines[later].strip()
        if bare and not bare.startswith("#"):
            return later + 1
    return number


def _last(lines: Sequence[str], first: int) -> int:
    """The last line of the document that has this line."""
    for later in range(first, len(lines)):
        if _MARKER.match(lines[later]):
            return later
    return len(lines)
