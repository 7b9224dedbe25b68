"""Who reaches whom, as people write it and as tests compare it.

A matrix is written as lines `SOURCES -> TARGETS [WHAT] allow|deny` over a world in which everything passes; a later
line overrides an earlier one. Ends are `x/a`, `x/*`, `*/a`, `pods`, `hosts`, `*`, or several with commas between. WHAT
is `80/TCP`, `TCP` or `ICMP`, several with commas, and `v4` or `v6`; without it, everything. Two things hold after all
lines (stances 13 and 14): a pod reaches itself, and a node its own pods. Ignores how cells are asked and judged.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

ASKED = (("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81), ("SCTP", 80), ("ICMP", 0))
FAMILIES = (4, 6)
_LINE = re.compile(r"(?P<sources>\S+) +-> +(?P<targets>\S+)(?: +(?P<what>\S.*?))? +(?P<answer>allow|deny)$")


class Cell(NamedTuple):
    """One question: may this end reach that one so? The port of ICMP is 0."""

    source: str
    target: str
    protocol: str
    port: int
    family: int

    def __str__(self) -> str:
        port = f"{self.port}/" if self.port else ""
        return f"{self.source} -> {self.target} {port}{self.protocol} v{self.family}"


Matrix = dict[Cell, bool]


def everything(sources: Iterable[str], targets: Iterable[str]) -> Matrix:
    """All pairs, all that is asked of a pair, both families: allowed."""
    pairs = [(source, target) for source in sources for target in targets]
    return {
        Cell(source, target, protocol, port, family): True
        for source, target in pairs
        for protocol, port in ASKED
        for family in FAMILIES
    }


def written(text: str, matrix: Matrix, hosts: Iterable[str]) -> Matrix:
    """The matrix with the lines of the text. Raises ValueError for a line that is none or that speaks of nothing."""
    found, known = dict(matrix), frozenset(hosts)
    for line in stated(text):
        parts = _LINE.match(line)
        if parts is None:
            raise ValueError(f"not SOURCES -> TARGETS [WHAT] allow|deny: {line!r}")
        of_source, of_target = _ends(parts["sources"], known), _ends(parts["targets"], known)
        of_what = _what(parts["what"] or "")
        meant = [cell for cell in found if of_source(cell.source) and of_target(cell.target) and of_what(cell)]
        if not meant:
            raise ValueError(f"speaks of no cell: {line!r}")
        found |= dict.fromkeys(meant, parts["answer"] == "allow")
    return found


def stated(text: str) -> Iterator[str]:
    """The lines that say something."""
    bare = (line.partition("#")[0].strip() for line in text.splitlines())
    yield from (line for line in bare if line)


def _ends(text: str, hosts: frozenset[str]) -> Callable[[str], bool]:
    patterns = text.split(",")
    return lambda end: any(_matches(pattern, end, hosts) for pattern in patterns)


def _matches(pattern: str, end: str, hosts: frozenset[str]) -> bool:
    if pattern in ("*", end):
        return True
    if pattern in ("pods", "hosts"):
        return (end in hosts) == (pattern == "hosts")
    space, _, name = pattern.partition("/")
    return "*" in (space, name) and end.partition("/")[::2] in (
        (space, end.partition("/")[2]),
        (end.partition("/")[0], name),
    )


def _what(text: str) -> Callable[[Cell], bool]:
    families = {int(word[1]) for word in text.split() if word in ("v4", "v6")} or set(FAMILIES)
    kinds = {kind for word in text.split() if word not in ("v4", "v6") for kind in word.split(",")}
    return lambda cell: (
        cell.family in families and (not kinds or cell.protocol in kinds or f"{cell.port}/{cell.protocol}" in kinds)
    )


def shown(matrix: Mapping[Cell, bool], seen: Mapping[Cell, bool]) -> str:
    """Both as grids, a grid for each protocol, port and family that differs: `.` passes, `X` does not, `!` wrongly."""
    kinds = sorted({cell[2:] for cell, allowed in matrix.items() if seen.get(cell) != allowed})
    return "\n\n".join(_grid(kind, matrix, seen) for kind in kinds)


def _grid(kind: tuple[str, int, int], matrix: Mapping[Cell, bool], seen: Mapping[Cell, bool]) -> str:
    cells = [cell for cell in matrix if cell[2:] == kind]
    sources, targets = (list(dict.fromkeys(ends)) for ends in zip(*(cell[:2] for cell in cells), strict=True))
    width = max(map(len, (*sources, *targets))) + 1
    protocol, port, family = kind
    lines = [f"{port or ''}{'/' if port else ''}{protocol} v{family} (expected, `!` where it was otherwise)"]
    lines += [" " * width + "".join(f"{target:>{width}}" for target in targets)]
    for source in sources:
        marks = [_mark(Cell(source, target, *kind), matrix, seen) for target in targets]
        lines += [f"{source:<{width}}" + "".join(f"{mark:>{width}}" for mark in marks)]
    return "\n".join(lines)


def _mark(cell: Cell, matrix: Mapping[Cell, bool], seen: Mapping[Cell, bool]) -> str:
    if cell not in matrix:
        return " "
    return (".", "X")[not matrix[cell]] + ("" if seen.get(cell) == matrix[cell] else "!")
