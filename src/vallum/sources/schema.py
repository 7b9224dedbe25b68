"""A small language for the shape of manifests: what a field holds, checked on marked values, all problems at once.

A `Record` that is strict knows all of its fields; one that is not looks only at those it reads, and refuses
others that are nearly one of them. Null is absent, as the API server has it. Ignores which kinds exist.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

from vallum.sources.marks import Findings, Value
from vallum.sources.syntax import Check, cut, nearest


class Schema(Protocol):
    """What a value must look like."""

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Note every problem of the value."""
        ...


@dataclass(frozen=True, slots=True)
class Anything:
    """A field that is known but not read."""

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text, with a check of its syntax."""

    check: Check = lambda _: None

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Text that passes the check; numbers and booleans must be quoted."""
        problem = self.check(value.data) if isinstance(value.data, str) else _no_text(value)
        if problem:
            findings.wrong(value.spot, f"{path}: {problem}")


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number in a range; with `name`, text that passes it may stand instead."""

    low: int
    high: int
    name: Check | None = None

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """A whole number, and never a boolean, which Python takes for one."""
        data = value.data
        if isinstance(data, int) and not isinstance(data, bool):
            problem = None if self.low <= data <= self.high else self._out_of_range(value)
        elif isinstance(data, str):
            problem = self._text(data)
        else:
            problem = f"must be a whole number from {self.low} to {self.high}, is {_show(value)}"
        if problem:
            findings.wrong(value.spot, f"{path}: {problem}")

    def _out_of_range(self, value: Value) -> str:
        return f"{cut(value.text, 40)} is out of range; it can be {self.low} to {self.high}"

    def _text(self, text: str) -> str | None:
        if self.name:
            return self.name(text)
        if text.isdecimal():
            return f'"{cut(text, 40)}" is text; write it without quotes'
        return f"must be a whole number from {self.low} to {self.high}, is the text `{cut(text, 40)}`"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """A boolean without quotes."""
        if not isinstance(value.data, bool):
            findings.wrong(value.spot, f"{path}: must be true or false without quotes, is {_show(value)}")


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list. Its `check` sees the whole."""

    item: Schema
    check: Callable[[Value, str, Findings], None] | None = None

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Every entry by its own schema; an entry of nothing is no entry."""
        if not isinstance(value.data, tuple):
            findings.wrong(value.spot, f"{path}: must be a list, is {_show(value)}; begin each entry with `- `")
            return
        before = len(findings.errors)
        for index, item in enumerate(value.data):
            if item.data is None:
                findings.wrong(item.spot, f"{path}[{index}]: this entry is empty; fill it or remove it")
            else:
                self.item.inspect(item, f"{path}[{index}]", findings)
        if self.check and len(findings.errors) == before:
            self.check(value, path, findings)


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with free keys, such as labels."""

    key: Check
    item: Schema

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Keys by their check, values by their schema."""
        if not isinstance(value.data, dict):
            findings.wrong(value.spot, f"{path}: must be a mapping of `key: value`, is {_show(value)}")
            return
        for key, item in value.data.items():
            problem = self.key(key)
            if problem:
                findings.wrong(value.keys[key], f"{path}: {problem}")
            if item.data is None:
                findings.wrong(item.spot, f'{path}.{key}: has no value; write "" for the empty text')
            else:
                self.item.inspect(item, f"{path}.{cut(key)}", findings)


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with named fields.

    `strict`: no others. `others`: real fields that are not read and may look like one that is. `example` is
    shown where something else stands, `hint` with a field that is not known. `check` sees the whole.
    """

    fields: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    strict: bool = True
    others: frozenset[str] = frozenset()
    example: str = ""
    hint: str = ""
    check: Callable[[Value, str, Findings], None] | None = field(default=None)

    def inspect(self, value: Value, path: str, findings: Findings) -> None:
        """Fields by their schemas, then the whole if they are right."""
        if not isinstance(value.data, dict):
            cure = f", such as `{self.example}`" if self.example else ""
            dash = "; remove the `- `" if isinstance(value.data, tuple) else ""
            findings.wrong(value.spot, f"{_at(path)}must be a mapping{cure}, is {_show(value)}{dash}")
            return
        before = len(findings.errors)
        for key, item in value.data.items():
            schema = self.fields.get(key)
            if schema is None:
                self._unknown(key, value, path, findings)
            elif item.data is not None:
                schema.inspect(item, f"{path}.{key}" if path else key, findings)
        for key in self.required:
            if key not in value.data or value.data[key].data is None:
                cure = f", as in `{self.example}`" if f"{key}:" in self.example else ""
                findings.wrong(value.spot, f"{_at(path)}`{key}` is missing{cure}")
        if self.check and len(findings.errors) == before:
            self.check(value, path, findings)

    def _unknown(self, key: str, value: Value, path: str, findings: Findings) -> None:
        near = None if key in self.others else _near(key, tuple(self.fields))
        if self.strict or near:
            findings.wrong(value.keys[key], f"{_at(path)}{self._unknown_problem(key, near)}")

    def _unknown_problem(self, key: str, near: str | None) -> str:
        shown = cut(key, 60)
        if near:
            return f"unknown field `{shown}`; did you mean `{near}`?"
        return f"unknown field `{shown}`; {self.hint or 'fields here are ' + ', '.join(sorted(self.fields))}"


@lru_cache(4096)  # the same unread fields stand in every pod
def _near(key: str, known: tuple[str, ...]) -> str | None:
    return nearest(key, known)


NO_FIELDS: Mapping[str, Value] = MappingProxyType({})


def fields_of(value: Value) -> Mapping[str, Value]:
    """The fields of a value that a Record found right, those that are null left out."""
    if not isinstance(value.data, dict):
        return NO_FIELDS
    return {key: item for key, item in value.data.items() if item.data is not None}


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _no_text(value: Value) -> str:
    if isinstance(value.data, bool | int | float):
        kind = "boolean" if isinstance(value.data, bool) else "number"
        return f'YAML reads `{cut(value.text, 40)}` as a {kind}; write "{cut(value.text, 40)}" in quotes'
    return f"must be text, is {_show(value)}"


def _show(value: Value) -> str:
    match value.data:
        case tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case None:
            return "nothing"
        case bool() | int() | float():
            return cut(value.text, 40)
        case str():
            return f"the text `{cut(value.text, 40)}`"
