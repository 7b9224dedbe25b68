"""YAML and JSON text as values that remember where they stand, so that every later finding has a line.

Built from the parser's events, not its node graph: that recurses in C and dies of deep nesting. Plain scalars
are read as kubectl reads them (YAML 1.1, sigs.k8s.io/yaml): `on`, `yes` and `y` are booleans, `010` is 8.
Ignores what the values mean; `schema` knows that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import yaml

from vallum.model.errors import InputError
from vallum.sources.scalars import UnreadTagError, scalar
from vallum.sources.yaml_words import explain

_DEPTH = 100
_SIZE = 2_000_000
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_SURROGATES = re.compile(r"(\\\\)|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


_NO_KEYS: "Mapping[str, Spot]" = MappingProxyType({})


def _no_keys() -> "Mapping[str, Spot]":
    return _NO_KEYS


class Spot(NamedTuple):
    """A line and a column, both from 1. Made for every value there is, so it must be cheap."""

    line: int
    column: int


@dataclass(slots=True)
class Value:
    """One value, where it stands, and how it was written. `size` counts it with all that is inside.

    Never changed once made; not declared so, because a frozen one takes three times as long to make.
    """

    data: "bool | int | float | str | tuple[Value, ...] | Mapping[str, Value] | None"
    spot: Spot
    text: str = ""
    keys: Mapping[str, Spot] = field(default_factory=_no_keys)
    size: int = 1


@dataclass(slots=True)
class Findings:
    """Collects what is wrong with one file."""

    file: str
    errors: list[InputError] = field(default_factory=list)

    def wrong(self, at: Spot, problem: str) -> None:
        """Note a problem at this place, on one line whatever the user's text holds."""
        if not problem.isprintable():
            problem = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in problem)
        self.errors.append(InputError(f"{self.file}:{at.line}:{at.column}", problem))


def plain(value: Value) -> Any:
    """The value as ordinary dicts, lists and scalars."""
    data = value.data
    if isinstance(data, tuple):
        return [plain(item) for item in data]
    return {key: plain(item) for key, item in data.items()} if isinstance(data, dict) else data


def documents(text: str, findings: Findings) -> Iterator[Value]:
    """The documents of a text that are not empty. Ends at the first place that is no YAML."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        column = forbidden.start() - text.rfind("\n", 0, forbidden.start())
        findings.wrong(
            Spot(line, column), f"control character U+{ord(forbidden[0]):04X}: manifests are plain text; remove it"
        )
        return
    if text.lstrip().startswith(("{", "[")):
        text = _SURROGATES.sub(_join_surrogates, text)
    try:
        yield from _Builder(findings).documents(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
        spot, problem = explain(error, text.splitlines(), (at.line, at.column))
        findings.wrong(Spot(*spot), problem)
    except _StopReadingError:
        return


class _StopReadingError(Exception):
    """The rest of this file cannot be read with sense; the finding is noted already."""


def _join_surrogates(match: "re.Match[str]") -> str:
    """JSON writes characters beyond U+FFFF as two escapes; YAML knows them as one."""
    if match[1]:
        return match[1]
    code = 0x10000 + ((int(match[2], 16) - 0xD800) << 10) + int(match[3], 16) - 0xDC00
    return f"\\U{code:08X}"


@dataclass(slots=True)
class _Open:
    """A collection that is being read: its items, for a mapping keys and values in turn."""

    spot: Spot
    mapping: bool
    anchor: str | None
    items: list[Value] = field(default_factory=list)


class _Merge(str):
    """A `<<` without quotes: as a key it merges."""

    __slots__ = ()


_STARTS = frozenset({yaml.MappingStartEvent, yaml.SequenceStartEvent})
_ENDS = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent, yaml.AliasEvent})


class _Builder:
    """Puts the parser's events together."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._stack: list[_Open] = []
        self._anchors: dict[str, Value | None] = {}
        self._unclear = False

    def documents(self, text: str) -> Iterator[Value]:
        loader = yaml.CSafeLoader(text)
        try:
            while (event := loader.get_event()) is not None:
                kind = type(event)
                if kind is yaml.ScalarEvent or kind in _ENDS:
                    value = self._value(event)
                    if self._stack:
                        self._stack[-1].items.append(value)
                    elif value.data is not None and not self._unclear:
                        yield value
                elif kind in _STARTS:
                    self._open(event)
                elif kind is yaml.DocumentStartEvent:
                    self._anchors, self._unclear = {}, False
        finally:
            loader.dispose()

    def _open(self, event: Any) -> None:
        spot = _spot(event)
        if len(self._stack) >= _DEPTH:
            self._stop(spot, f"nested more than {_DEPTH} levels deep; no manifest is")
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._note(spot, f"the tag {event.tag} is not read here; remove it")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(spot, type(event) is yaml.MappingStartEvent, event.anchor))

    def _value(self, event: Any) -> Value:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value, anchor = self._scalar(event), event.anchor
        elif kind is yaml.AliasEvent:
            return self._alias(event.anchor or "", _spot(event))
        else:
            opened = self._stack.pop()
            value, anchor = (self._mapping if opened.mapping else self._sequence)(opened), opened.anchor
            if value.size > _SIZE:
                self._stop(value.spot, f"aliases unfold this to more than {_SIZE:,} values; write less of it")
        if anchor:
            self._anchors[anchor] = value
        return value

    def _scalar(self, event: yaml.ScalarEvent) -> Value:
        try:
            data = scalar(event.value, event.tag, plain=event.implicit[0])
            if data == "<<" and event.implicit[0]:  # in quotes it is a key like any other
                data = _Merge(data)
        except UnreadTagError as error:
            self._note(_spot(event), str(error))
            data = event.value
        return Value(data, _spot(event), event.value)

    def _alias(self, anchor: str, spot: Spot) -> Value:
        if anchor not in self._anchors:
            self._stop(spot, f"`*{anchor}` refers to `&{anchor}`, which stands nowhere above it in this document")
        value = self._anchors[anchor]
        if value is None:
            self._stop(spot, f"`*{anchor}` stands inside of `&{anchor}` itself, so it would never end")
        return Value(value.data, spot, value.text, value.keys, value.size)

    def _sequence(self, opened: _Open) -> Value:
        return Value(tuple(opened.items), opened.spot, size=1 + sum(item.size for item in opened.items))

    def _mapping(self, opened: _Open) -> Value:
        entries: dict[str, Value] = {}
        keys: dict[str, Spot] = {}
        merged: list[Value] = []
        for key, value in zip(opened.items[::2], opened.items[1::2], strict=True):
            if type(key.data) is _Merge:
                merged.extend(value.data if isinstance(value.data, tuple) else (value,))
            elif not isinstance(key.data, str):
                self._note(key.spot, _key_problem(key))
            elif key.data in entries:
                first = keys[key.data].line
                problem = f"the key `{key.data}` was written before, on line {first}; one of them would be lost"
                self._findings.wrong(key.spot, problem)
            else:
                entries[key.data] = value
                keys[key.data] = key.spot
        for source in merged:
            self._merge(source, entries, keys)
        return Value(entries, opened.spot, "", keys, 1 + sum(value.size for value in entries.values()))

    def _merge(self, source: Value, entries: dict[str, Value], keys: dict[str, Spot]) -> None:
        """A merge key (`<<: *base`) brings what is not written here itself."""
        if not isinstance(source.data, Mapping):
            self._note(source.spot, "`<<` merges mappings only, such as `<<: *base`")
            return
        for key, value in source.data.items():
            if key not in entries:
                entries[key] = value
                keys[key] = source.keys[key]

    def _note(self, spot: Spot, problem: str) -> None:
        """What stands here is not what was meant: judging the document's fields would only add noise."""
        self._unclear = True
        self._findings.wrong(spot, problem)

    def _stop(self, spot: Spot, problem: str) -> NoReturn:
        self._findings.wrong(spot, problem)
        raise _StopReadingError


def _spot(event: yaml.Event) -> Spot:
    mark: Any = event.start_mark  # the parser marks every event
    return Spot(mark.line + 1, mark.column + 1)


def _key_problem(key: Value) -> str:
    match key.data:
        case Mapping():
            return "`{{` opens a template; render it first (helm template, kustomize build) and read the result"
        case tuple():
            return "a list cannot be a key; keys are text"
        case None:
            return "a key is missing before the `:`"
        case bool():
            return f'YAML reads the key `{key.text}` as a boolean; write "{key.text}" in quotes'
        case _:
            return f'YAML reads the key `{key.text}` as a number; write "{key.text}" in quotes'
