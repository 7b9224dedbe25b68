"""What a change opens and what it closes: connections between parties, and the policies that are responsible.

Exact as the matrix is: pairs of ends that both worlds have are compared kind by kind. Ends that only one of the worlds
has are told apart, because what they may do was opened or closed by their coming and going. Ignores how the change is
written down.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from vallum.analysis.causes import Cause, Causes
from vallum.analysis.compared import NEW, OLD, Answer, Compared
from vallum.analysis.parties import FAMILIES, By
from vallum.analysis.ranges import NOTHING, Ports, both, either, texts, without
from vallum.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """Between all pairs of two parties, or between some only, these ports opened or closed."""

    source: str
    target: str
    all: Ports
    some: Ports
    because: tuple[Cause, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As plain data (docs/formats)."""
        told = {"from": self.source, "to": self.target, "all": texts(self.all), "some": texts(self.some)}
        return told | {"because": [cause.facts() for cause in self.because]}


@dataclass(frozen=True, slots=True)
class Difference:
    """Two worlds compared. `new` and `gone`: ends that one world has only, and what they may or might do."""

    by: By
    opened: tuple[Change, ...] = ()
    closed: tuple[Change, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    opened_by_new: tuple[Change, ...] = ()
    closed_by_gone: tuple[Change, ...] = ()

    @property
    def empty(self) -> bool:
        """Reports whether nothing differs."""
        connections = (self.opened, self.closed, self.opened_by_new, self.closed_by_gone)
        return not (any(connections) or self.new or self.gone)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        told: dict[str, Any] = {"by": str(self.by), "new": list(self.new), "gone": list(self.gone)}
        for name in ("opened", "closed", "opened_by_new", "closed_by_gone"):
            told[name] = [change.facts() for change in getattr(self, name)]
        return told


def diff(old: Snapshot, new: Snapshot, by: By, families: Iterable[int] = FAMILIES) -> Difference:
    """What opens and closes on the way from one world to the other."""
    compared = Compared(old, new, by, tuple(families))
    causes = Causes(compared.reach[OLD].ruleset, compared.reach[NEW].ruleset)
    found: dict[str, list[Change]] = {"opened": [], "closed": [], "opened_by_new": [], "closed_by_gone": []}
    for source, target in product(compared.rows, repeat=2):
        answers = compared.answers(source, target)
        for name, pieces in _pieces(answers).items() if any(answers) else ():
            change = _change(source.name, target.name, pieces, causes)
            if change is not None:
                found[name].append(change)
    lists = {name: tuple(changes) for name, changes in found.items()}
    return Difference(by, new=compared.only(NEW), gone=compared.only(OLD), **lists)


_Piece = tuple[Ports, Answer | None]
"""What opened or closed between one pair, and where policies are responsible how they answered."""


def _pieces(answers: Iterable[Answer | None]) -> dict[str, list[_Piece]]:
    found: dict[str, list[_Piece]] = {}
    for answer in answers:
        if answer is None:  # a pair that both worlds treat alike
            found.setdefault("opened", []).append((NOTHING, None))
            found.setdefault("closed", []).append((NOTHING, None))
            continue
        match answer.before, answer.after:
            case None, after:
                found.setdefault("opened_by_new", []).append((after or NOTHING, None))
            case before, None:
                found.setdefault("closed_by_gone", []).append((before or NOTHING, None))
            case before, after:
                found.setdefault("opened", []).append((without(after or NOTHING, before or NOTHING), answer))
                found.setdefault("closed", []).append((without(before or NOTHING, after or NOTHING), answer))
    return found


def _change(source: str, target: str, pieces: list[_Piece], causes: Causes) -> Change | None:
    """None where it is nothing between all of the pairs."""
    every = any_ = pieces[0][0]
    for ports, _ in pieces[1:]:
        every, any_ = both(every, ports), either(any_, ports)
    if not any_:
        return None
    because = {cause for ports, answer in pieces if ports and answer for cause in causes.of(answer, ports)}
    return Change(source, target, every, without(any_, every), tuple(sorted(because)))
