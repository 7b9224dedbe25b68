"""Documents in plain block style, as most are and as all of kubectl's are, read line by line, three times as fast.

The parser (`yaml_events`) makes an object of every event, which is most of what reading costs. Here one expression
cuts all lines at once. It knows block lists and mappings, plain words and simple quotes in one line, `{}`, `[]` and
comments; whatever else it meets, wrong or only rare, it leaves to the parser, and what it does read must be equal to
what the parser reads, places included (tested on documents with random damage).
"""

import re
from functools import lru_cache

from vallum.sources.marks import Spot, Value
from vallum.sources.scalars import WORDS, Scalar, scalar

_DEPTH = 50
_LONGEST = 2_000_000
_LINE = re.compile(
    r"""
      ^(\ *+)                                       # how far it is indented
      ((?:-(?:\ ++|(?=\n)))*+)                      # the dashes of lists
      (?:([A-Za-z_][-\w./]{0,250}+):(\ ++|(?=\n)))?  # a key, and the gap behind it
      (?:([A-Za-z0-9_./][-\w./+=@~,()]{0,99}+(?:[:\ ][-\w./+=@~,()]{1,99}+){0,9}+)  # plain words, few: they are kept
        |("[^"\\\n\t]*+"|'[^'\n\t]*+'|\{\}|\[\]))?  # or quotes, or an empty collection
      \ *+(?:(?<![^ \n])\#[^\n]*+)?+\n               # a comment
    """,
    re.ASCII | re.MULTILINE | re.VERBOSE,
)

_Row = tuple[int, str, str, str, str, str, int]


def block_documents(text: str, line: int) -> list[Value] | None:
    """The document in these lines, if there is one; `line` is the number of the first. None: let the parser read."""
    if text.startswith("---\n"):
        text, line = text[4:], line + 1
    if len(text) > _LONGEST:  # the parser counts values; a shorter text cannot have too many
        return None
    text += "\n"
    lines = _LINE.findall(text)
    if len(lines) != text.count("\n"):
        return None
    rows: list[_Row] = [
        (len(indent), dashes, key, gap, word, other, number)
        for number, (indent, dashes, key, gap, word, other) in enumerate(lines, line)
        if dashes or key or word or other
    ]
    if not rows:
        return []
    try:
        return [_Block(rows).whole()]
    except _OtherFormError:
        return None


class _OtherFormError(Exception):
    """The lines are not in the form that is read here."""


class _Block:
    """The rows of one document, from top to bottom. A row is a line; behind its first dash it is a row again."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows
        self._at = 0
        rows.append((-1, "", "", "", "", "", 0))  # less indented than any: all that is open ends here

    def whole(self) -> Value:
        """The mapping that the rows are."""
        column, dashes, *_ = self._rows[0]
        if dashes:
            raise _OtherFormError
        value = self._mapping(column, 0)
        if self._rows[self._at][0] >= 0:
            raise _OtherFormError
        return value

    def _mapping(self, column: int, depth: int) -> Value:
        rows, first = self._rows, self._rows[self._at][6]
        if depth > _DEPTH:
            raise _OtherFormError
        entries: dict[str, Value] = {}
        keys: dict[str, Spot] = {}
        while (row := rows[self._at])[0] == column:
            _, dashes, key, gap, word, other, line = row
            if dashes or not key or key in entries or key in WORDS:
                raise _OtherFormError
            self._at += 1
            behind = column + len(key) + 2
            if word:
                entries[key] = Value(_plain(word), (line, behind + len(gap)), word)
            elif other:
                entries[key] = _other(other, (line, behind + len(gap)))
            else:
                entries[key] = self._below(column, (line, behind), depth, list_beside=True)
            keys[key] = (line, column + 1)
        if row[0] > column:
            raise _OtherFormError
        return Value(entries, (first, column + 1), "", keys)

    def _list(self, column: int, depth: int) -> Value:
        rows, first = self._rows, self._rows[self._at][6]
        if depth > _DEPTH:
            raise _OtherFormError
        items: list[Value] = []
        while (row := rows[self._at])[0] == column and row[1]:
            _, dashes, key, gap, word, other, line = row
            width = dashes.find("-", 1)
            if width < 0:
                width = len(dashes)
            if key or width < len(dashes):
                rows[self._at] = (column + width, dashes[width:], key, gap, word, other, line)
                items.append((self._mapping if width == len(dashes) else self._list)(column + width, depth + 1))
                continue
            self._at += 1
            if word:
                items.append(Value(_plain(word), (line, column + width + 1), word))
            elif other:
                items.append(_other(other, (line, column + width + 1)))
            else:
                items.append(self._below(column, (line, column + 2), depth, list_beside=False))
        if row[0] > column:
            raise _OtherFormError
        return Value(tuple(items), (first, column + 1))

    def _below(self, column: int, empty: Spot, depth: int, *, list_beside: bool) -> Value:
        """What stands in the rows below, further in; for a key, a list may stand right below it. Else nothing."""
        row = self._rows[self._at]
        if row[0] > column or (list_beside and row[0] == column and row[1]):
            return (self._list if row[1] else self._mapping)(row[0], depth + 1)
        return Value(None, empty)


@lru_cache(4096)  # the same words stand in every manifest
def _plain(text: str) -> Scalar:
    return scalar(text, None, plain=True)


def _other(text: str, spot: Spot) -> Value:
    match text:
        case "{}":
            return Value({}, spot, "", {})
        case "[]":
            return Value((), spot)
        case _:
            return Value(text[1:-1], spot, text[1:-1])
