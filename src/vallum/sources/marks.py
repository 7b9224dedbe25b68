"""Values that remember where they stand in a text, so that every later finding has a line.

Ignores how text is read (`yaml_text`) and what the values mean; `schema` knows that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vallum.model.errors import InputError

Spot = tuple[int, int]
"""A line and a column, both from 1. Made for every value there is: one with names takes ten times as long to make."""

_NO_KEYS: Mapping[str, Spot] = MappingProxyType({})


def _no_keys() -> Mapping[str, Spot]:
    return _NO_KEYS


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
        self.errors.append(InputError(f"{self.file}:{at[0]}:{at[1]}", problem))


def plain(value: Value) -> Any:
    """The value as ordinary dicts, lists and scalars."""
    data = value.data
    if isinstance(data, dict):
        return {key: plain(item) for key, item in data.items()}
    return [plain(item) for item in data] if isinstance(data, tuple) else data
