"""Files of networks and topologies, and exports: documents that know where they stand, so that errors name the line.

The readers of `vallum.ipam` speak of objects and fields (`Network dc cidr`, `networks[0].cidr`); here such a place is
looked up in the text. What it ignores: what the documents mean.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vallum.ipam import own, romana
from vallum.ipam.topology import Layout
from vallum.model.errors import InputError, InputErrors
from vallum.sources.files import File, MovedError, read_files
from vallum.sources.marks import Findings, Value, plain
from vallum.sources.yaml_text import documents

_STEP = re.compile(r"\w+|\[\d+\]")
_ROMANA_WORDS = {"blockMask": "block_mask", "hosts": "groups", "address": "ip"}


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file, as plain data, and where it stands."""

    file: str
    value: Value
    body: dict[str, Any]


def read_layout(path: str) -> Layout:
    """The layout of a file, a folder, or - for standard input: documents of ours, or one of Romana's.

    Raises InputError(s) with file, line and column.
    """
    found = read_documents(path)
    theirs = [each for each in found if romana.is_romana(each.body)]
    with told(found):
        if not theirs:
            return own.read(each.body for each in found)
        if len(found) > 1:
            text = (
                "Romana's topology is one document with nothing beside it; leave the others out, or write our own form"
            )
            raise InputError(_spot(theirs[0], theirs[0].value), text)
        return romana.read(found[0].body)


def read_documents(path: str) -> list[Document]:
    """The objects of a file, a folder, or - for standard input; those of a List one by one. Raises InputError(s)."""
    found: list[Document] = []
    errors: list[InputError] = []
    for file in _files(path):
        findings = Findings(file.shown)
        errors += [file.error] if file.error else []
        for value in documents(_text(file), findings):
            found += _unfolded(file.shown, value, findings)
        errors += findings.errors
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(tuple(errors))
    if not found:
        raise InputError(path, "holds no document; examples/topologies has some that do")
    return found


@contextmanager
def told(documents_: Sequence[Document]) -> Iterator[None]:
    """Put file, line and column before the place of an InputError about these documents."""
    try:
        yield
    except InputErrors as errors:
        raise InputErrors(tuple(_told(each, documents_) for each in errors.errors)) from None
    except InputError as error:
        raise _told(error, documents_) from None


def _files(path: str) -> list[File]:
    try:
        return read_files(path, frozenset(), {})
    except MovedError as error:
        raise InputError(path, "changed while it was read; try again") from error


def _text(file: File) -> str:
    try:
        return file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(file.shown, f"byte {error.start} is no UTF-8; save the file as UTF-8") from None


def _unfolded(file: str, value: Value, findings: Findings) -> Iterator[Document]:
    data = value.data
    if not isinstance(data, Mapping):
        findings.wrong(value.spot, "is no object; begin it with apiVersion and kind")
        return
    items = data.get("items")
    if "kind" in data and data["kind"].data == "List" and items is not None and isinstance(items.data, tuple):
        for item in items.data:
            yield from _unfolded(file, item, findings)
    else:
        yield Document(file, value, plain(value))


# From the place of an error to a line


def _told(error: InputError, found: Sequence[Document]) -> InputError:
    at = _find(error.place, found)
    return InputError(f"{at}: {error.place}", error.problem) if at else error


def _find(place: str, found: Sequence[Document]) -> str:
    """Where in the files an object and field stand, as far as they can be found there; else empty."""
    if re.match(r"[^ ]+:\d+:\d+$", place):
        return ""
    if match := re.match(r"document (\d+)\.?(.*)", place):
        of = found[int(match[1]) - 1]
        return _spot(of, _walk(of.value, match[2]))
    kind, _, rest = place.partition(" ")
    name, _, field = rest.partition(" ")
    for of in found:
        if romana.is_romana(of.body):
            holder = _in_romana(of.value, kind, name)
            if holder is not None or not rest:
                return _spot(of, _walk(holder or of.value, field if holder else place))
        elif of.body.get("kind") == kind and (of.body.get("metadata") or {}).get("name") == name:
            return _spot(of, _walk(of.value, f"spec.{field}"))
    return ""


def _in_romana(value: Value, kind: str, name: str) -> Value | None:
    """The last object of this kind and name in Romana's document; a topology goes by its first network."""
    found = None
    for item in _items(value, {"Network": "networks", "Topology": "topologies"}.get(kind, "")):
        body = plain(item)
        names = body.get("networks") or [""] if kind == "Topology" else [body.get("name")]
        found = item if name == names or name == names[0] else found
    return found


def _walk(value: Value, path: str) -> Value:
    """The value that a path leads to, or the last one on the way that is there."""
    for step in _STEP.findall(path):
        data, key = value.data, _ROMANA_WORDS.get(step, step)
        if isinstance(data, tuple) and step.startswith("["):
            index = int(step[1:-1])
            if index >= len(data):
                break
            value = data[index]
        elif isinstance(data, Mapping) and (step in data or key in data):
            value = data[step if step in data else key]
        else:
            break
    return value


def _items(value: Value, name: str) -> tuple[Value, ...]:
    found = value.data.get(name) if isinstance(value.data, Mapping) else None
    return found.data if found is not None and isinstance(found.data, tuple) else ()


def _spot(of: Document, value: Value) -> str:
    return f"{of.file}:{value.spot[0]}:{value.spot[1]}"
