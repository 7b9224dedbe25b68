"""One file of manifests, read: the objects it declares, what was skipped, and all that is wrong with it.

Depends on the file's name and bytes only, so that a reading can be kept as long as these stay. Ignores what
other files say; `world` joins them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from vallum.model.address import Address, Network
from vallum.model.errors import InputError
from vallum.model.objects import Object
from vallum.sources.decode import decode
from vallum.sources.files import File
from vallum.sources.kinds import Foreign, Known, Skipped, unfold
from vallum.sources.marks import Findings, Value, plain
from vallum.sources.old_forms import in_v1, is_old
from vallum.sources.schema import fields_of
from vallum.sources.yaml_text import documents


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it was written: where, its plain body, and what it is decoded to (None: it counts for nothing)."""

    place: str
    body: dict[str, Any]
    thing: Object | None


@dataclass(frozen=True, slots=True)
class Claim:
    """An address of a pod or a range of a node, and where it is stated."""

    place: str
    value: Address | Network


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one file holds. `claims` has an entry for each document; `romana` are policies in Romana's own form."""

    documents: tuple[Document, ...] = ()
    claims: tuple[tuple[Claim, ...], ...] = ()
    skipped: tuple[str, ...] = ()
    romana: tuple[Document, ...] = ()
    errors: tuple[InputError, ...] = ()


def manifest_of(file: File) -> Manifest:
    """What a file holds, or why it could not be opened."""
    return Manifest(errors=(file.error,)) if file.error else read_manifest(file.shown, file.data)


def read_manifest(shown: str, data: bytes) -> Manifest:
    """Read the bytes of a file, which messages call `shown`. Never raises for what stands in it."""
    findings = Findings(shown)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"{shown}:{_position(data, error.start)}"
        problem = f"the byte 0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8"
        return Manifest(errors=(InputError(place, problem),))
    found = [item for value in documents(text, findings) for item in unfold(value, findings)]
    known = [item for item in found if isinstance(item, Known)]
    return Manifest(
        tuple(_document(item, shown) for item in known),
        tuple(tuple(_claims(item, shown)) for item in known),
        tuple(item.kind for item in found if isinstance(item, Skipped)),
        tuple(
            Document(place_of(item.value, shown), plain(item.value), None)
            for item in found
            if isinstance(item, Foreign)
        ),
        tuple(findings.errors),
    )


def _position(data: bytes, offset: int) -> str:
    """Line and column of a byte, all before it being right."""
    before = data[:offset].decode()
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _document(known: Known, shown: str) -> Document:
    body = plain(known.value)
    now = in_v1(body, of_2016=False) if is_old(body) else body
    return Document(place_of(known.value, shown), body, decode(known.kind, now))


def _claims(known: Known, shown: str) -> Iterator[Claim]:
    match known.kind:
        case "Pod":
            status = _field(known.value, "status")
            listed = [_field(item, "ip") for item in _items(status, "podIPs")]
            listed = listed or [_field(status, "podIP")]
            yield from (Claim(place_of(item, shown), ip_address(str(item.data))) for item in listed if item)
        case "Node":
            spec = _field(known.value, "spec")
            ranges: tuple[Value | None, ...] = _items(spec, "podCIDRs") or (_field(spec, "podCIDR"),)
            yield from (Claim(place_of(item, shown), ip_network(str(item.data))) for item in ranges if item)


def place_of(value: Value, shown: str) -> str:
    """Where a value stands, as messages say it."""
    line, column = value.spot
    return f"{shown}:{line}:{column}"


def _field(value: Value | None, name: str) -> Value | None:
    fields: Mapping[str, Value] = fields_of(value) if value else {}
    return fields.get(name)


def _items(value: Value | None, name: str) -> tuple[Value, ...]:
    found = _field(value, name)
    return found.data if found and isinstance(found.data, tuple) else ()
