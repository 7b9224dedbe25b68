"""What was made of each node the last time, so that a change of one node among thousands costs the work for one.

The same input gives the same value, with or without: only the time differs. What it ignores: what is remembered.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memo(Generic[Value]):
    """Remembers one value by key, and what it was made from.

    Args:
        most: keys at which all is forgotten: those of nodes that went must not pile up.
    """

    def __init__(self, most: int = 65_536) -> None:
        self._most = most
        self._kept: dict[Hashable, tuple[tuple[object, ...], Value]] = {}

    def get(self, key: Hashable, given: tuple[object, ...], make: Callable[[], Value]) -> Value:
        """The value for this input. What is compared should be the very same object where nothing changed: that is
        seen at once.
        """
        kept = self._kept.get(key)
        if kept is not None and kept[0] == given:
            return kept[1]
        if len(self._kept) >= self._most:
            self._kept.clear()
        value = make()
        self._kept[key] = (given, value)
        return value
