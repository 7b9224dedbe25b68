"""YAML and JSON text as values, by the events of the parser (libyaml): all of YAML, and what is wrong with it.

Built from the parser's events, not its node graph: that recurses in C and dies of deep nesting. Plain scalars
are read as kubectl reads them (YAML 1.1, sigs.k8s.io/yaml): `on`, `yes` and `y` are booleans, `010` is 8.
Ignores what the values mean; `schema` knows that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from vallum.sources.marks import Findings, Spot, Value
from vallum.sources.scalars import UnreadTagError, scalar

_DEPTH = 100
_SIZE = 2_000_000


class StopReadingError(Exception):
    """The rest of this file cannot be read with sense; the finding is noted already."""


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


class Builder:
    """Puts the parser's events together. `line`: the number of the text's first line."""

    def __init__(self, findings: Findings, line: int = 1) -> None:
        self._findings = findings
        self._line = line
        self._stack: list[_Open] = []
        self._anchors: dict[str, Value | None] = {}
        self._unclear = False

    def documents(self, text: str) -> Iterator[Value]:
        """The documents of a text that are not empty. Raises yaml.MarkedYAMLError or StopReadingError."""
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
        spot = self._spot(event)
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
            return self._alias(event.anchor or "", self._spot(event))
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
            self._note(self._spot(event), str(error))
            data = event.value
        return Value(data, self._spot(event), event.value)

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
                first = keys[key.data][0]
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

    def _spot(self, event: yaml.Event) -> Spot:
        mark: Any = event.start_mark  # the parser marks every event
        return mark.line + self._line, mark.column + 1

    def _note(self, spot: Spot, problem: str) -> None:
        """What stands here is not what was meant: judging the document's fields would only add noise."""
        self._unclear = True
        self._findings.wrong(spot, problem)

    def _stop(self, spot: Spot, problem: str) -> NoReturn:
        self._findings.wrong(spot, problem)
        raise StopReadingError


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
