"""Did you mean: the known word that is one slip away, found by what both leave when one letter goes.

Two words with a letter changed, added, left out or swapped share such a rest. Words that differ in digits only
(`app1`, `app2`) are names on purpose, and words under three letters are all alike.
"""

import re
from collections.abc import Iterable

_SHORTEST = 3
_DIGITS = re.compile("[0-9]")


class Spelling:
    """The known words of one place."""

    def __init__(self, words: Iterable[str]) -> None:
        self._rests: dict[str, list[str]] = {}
        for word in sorted(words):
            for rest in _rests(word):
                self._rests.setdefault(rest, []).append(word)

    def nearest(self, word: str) -> str | None:
        """The known word that was likely meant. None if there is none, or if the word is known."""
        found = {known for rest in _rests(word) for known in self._rests.get(rest, ())}
        if word in found:
            return None
        meant = sorted(known for known in found if _DIGITS.sub("", known) != _DIGITS.sub("", word))
        return meant[0] if meant else None


def _rests(word: str) -> set[str]:
    folded = word.casefold()
    if len(folded) < _SHORTEST:
        return {folded}
    return {folded, *(folded[:index] + folded[index + 1 :] for index in range(len(folded)))}
