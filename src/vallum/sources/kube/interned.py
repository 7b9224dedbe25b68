"""One copy of what many objects share: label sets and ports of a ReplicaSet's pods, names of nodes and owners.

This, not the decoder, decides how much memory a large cluster takes. Texts are interned by Python, which forgets them
when nobody holds them any more; the tables here are forgotten when they have grown, which costs sharing only.
"""

import sys
from collections.abc import Callable, Hashable
from typing import TypeVar

import msgspec

from vallum.model.selector import Labels

_Value = TypeVar("_Value")
_RAW_MOST, _MOST = 4096, 65_536
_NOTHING = object()

_labels_of = msgspec.json.Decoder(dict[str, str] | None).decode


class Interned:
    """The tables of one source."""

    def __init__(self) -> None:
        self._raw: dict[object, object] = {}
        self._values: dict[object, object] = {}

    def labels(self, raw: msgspec.Raw) -> Labels:
        """Sorted labels."""
        return self.once(bytes(raw), lambda: self.pairs(_labels_of(raw) if raw else None))

    def pairs(self, mapping: dict[str, str] | None) -> Labels:
        """The same from a mapping."""
        if not mapping:
            return ()
        text = sys.intern
        return self.value(tuple(self.value((text(key), text(value))) for key, value in sorted(mapping.items())))

    def once(self, raw: Hashable, make: Callable[[], _Value]) -> _Value:
        """What `make` gives for these bytes; what was seen lately is not made again."""
        found = self._raw.get(raw, _NOTHING)
        if found is _NOTHING:
            found = make()
            if len(self._raw) >= _RAW_MOST:
                self._raw.clear()
            self._raw[raw] = found
        return found  # type: ignore[return-value]  # what was made of these bytes

    def value(self, value: _Value) -> _Value:
        """The value, or an equal one that is there already."""
        known = self._values.setdefault(value, value)
        if len(self._values) >= _MOST:
            self._values.clear()
        return known  # type: ignore[return-value]  # setdefault: an equal one of the same type
