"""Reading plain dicts with a place for every error: object, field and index path. Pure, and knows no kind of object."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Any, TypeVar, overload

from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError

Default = TypeVar("Default")


class Fields:
    """The fields of one object. Each reader raises InputError where the value is of the wrong shape.

    Args:
        value: the object.
        place: what errors call it.
        known: the fields that it may have.
    """

    def __init__(self, value: object, place: str, known: set[str]) -> None:
        if not isinstance(value, Mapping):
            raise InputError(place, f"is {_shape(value)}; write an object")
        self._value: Mapping[str, Any] = value
        self._place = place
        for field in value:
            if field not in known:
                near = get_close_matches(str(field), known, 1)
                cure = f"did you mean {near[0]}?" if near else f"fields are: {', '.join(sorted(known))}"
                raise InputError(self.at(str(field)), f"is no field here; {cure}")

    def at(self, field: str) -> str:
        """The place of a field."""
        join = " " if self._place.count(" ") == 1 else "."  # `Network n cidr`, then `Network n map[0].name`
        return f"{self._place}{join}{field}" if self._place else field

    def __contains__(self, field: str) -> bool:
        return self._value.get(field) is not None

    @overload
    def text(self, field: str) -> str: ...
    @overload
    def text(self, field: str, default: Default) -> str | Default: ...
    def text(self, field: str, default: object = ...) -> object:
        """A string; raises where it is missing and there is no default."""
        value = self._value.get(field)
        if value is None and default is not ...:
            return default
        if not isinstance(value, str) or (not value and default is ...):
            raise InputError(self.at(field), f"is {_shape(value)}; write a string")
        return value

    def number(self, field: str) -> int | None:
        """A whole number, or None where it is missing."""
        value = self._value.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise InputError(self.at(field), f"is {_shape(value)}; write a whole number")
        return value

    def flag(self, field: str) -> bool:
        """True or false; false where it is missing."""
        value = self._value.get(field, False)
        if not isinstance(value, bool):
            raise InputError(self.at(field), f"is {_shape(value)}; write true or false")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings; empty where it is missing."""
        found = []
        for place, value in self.objects(field):
            if not isinstance(value, str):
                raise InputError(place, f"is {_shape(value)}; write a string")
            found.append(value)
        return tuple(found)

    def objects(self, field: str) -> Iterator[tuple[str, Any]]:
        """The items of a list, each with its place; nothing where it is missing."""
        value = self._value.get(field)
        if value is not None and not isinstance(value, list):
            raise InputError(self.at(field), f"is {_shape(value)}; write a list")
        return ((f"{self.at(field)}[{index}]", item) for index, item in enumerate(value or ()))

    def strings(self, field: str) -> Mapping[str, str]:
        """An object of strings; empty where it is missing."""
        value = self._value.get(field)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise InputError(self.at(field), f"is {_shape(value)}; write an object of strings")
        for key, item in value.items():
            if not isinstance(key, str) or not isinstance(item, str):
                raise InputError(f"{self.at(field)}.{key}", f"is {_shape(item)}; write a string")
        return value

    def mapping(self, field: str) -> Mapping[str, Any]:
        """An object; empty where it is missing."""
        value = self._value.get(field)
        if value is not None and not isinstance(value, Mapping):
            raise InputError(self.at(field), f"is {_shape(value)}; write an object")
        return value or {}

    def object(self, field: str, known: set[str]) -> "Fields":
        """An object with fields of its own."""
        return Fields(self._value.get(field), self.at(field), known)


@contextmanager
def reading(place: str, problem: str) -> Iterator[None]:
    """Turn a ValueError into an InputError of this place; its text is added."""
    try:
        yield
    except ValueError as error:
        raise InputError(place, f"{problem} ({error})") from None


def cidr_of(text: str, place: str) -> Cidr:
    """A range. Host bits are an error that says what was meant."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise InputError(place, f"{text!r} is no range of addresses; write one such as 10.0.0.0/16") from None
    raise InputError(place, f"{text} has host bits set; write {meant}, or the range that you mean")


def _shape(value: object) -> str:
    match value:
        case None:
            return "missing"
        case bool():
            return str(value).lower()
        case str():
            return f"the string {value!r}"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return type(value).__name__
