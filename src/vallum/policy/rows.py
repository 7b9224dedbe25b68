"""What the profiles of one direction allow, by the sets that a remote address is in; and which sets are alike.

A class of addresses is named by a hash of what may be done with it, so it keeps its name while rules elsewhere
change, and the same world gives the same names by whatever way it came about.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from vallum.policy.ports import PortClasses, port_classes
from vallum.policy.ruleset import Action, PortMatch, Side

Allowed = frozenset[int] | None
"""The port classes that pass; None: everything, portless protocols too."""

NOTHING: Allowed = frozenset()
NO_PORT: frozenset[PortMatch] = frozenset()

GUARDED, INSIDE = "?", "!"
"""A kind in the guarded part of a set is tagged `id?`, a range that the part is confined to `id!`: both make `id`."""

Matches = frozenset[PortMatch] | None
"""Ports as rules write them; None: everything."""
Row = dict[str, Allowed]
"""Profile -> what it allows; only what differs from class 0."""


Mention = tuple[tuple[str, Matches], ...]
"""(profile, ports) of all who name a peer set."""


@dataclass(frozen=True, slots=True)
class Term:
    """What the rules of a side allow together: to anybody, and to each peer set. `asked`: all that is ever compared."""

    anybody: Matches
    peers: dict[str, Matches]
    asked: frozenset[frozenset[PortMatch]]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of one direction: a pure function of its sides. What was asked is remembered in the last three fields.

    `terms`: by profile. `mentions`: by peer set, the profiles that name it and what they allow to it.
    """

    sides: Mapping[str, Side]
    terms: Mapping[str, Term]
    asked: frozenset[frozenset[PortMatch]]
    ports: PortClasses
    mentions: dict[str, Mention]
    classes: dict[Matches, Allowed]
    numbers: dict[frozenset[str], int] = field(default_factory=lambda: {frozenset(): 0})
    known: dict[int, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known[0] = self._anybody()

    def number(self, tags: frozenset[str]) -> int:
        """The class of an address that is in these sets."""
        number = self.numbers.get(tags)
        if number is None:
            row = self._row(tags)
            number = self._hash(row) if row else 0
            self.numbers[tags] = number
            if number:
                known = self.known.setdefault(number, row)
                if known != row:
                    raise AssertionError(f"two classes of addresses are named {number}")
        return number

    def row(self, number: int) -> Row:
        """The row of a class that `number` gave."""
        return self.known[number]

    def allowed(self, profile: str, number: int) -> Allowed:
        """What a profile may exchange with a class."""
        row = self.known[number]
        return row[profile] if profile in row else self.known[0].get(profile, NOTHING)

    def named_otherwise(self, before: "Rows") -> Iterator[str]:
        """The peer sets that profiles name which are not the same in both; some of them more than once."""
        for one, other in ((self.terms, before.terms), (before.terms, self.terms)):
            for name, term in one.items():
                if other.get(name) is not term:
                    yield from term.peers

    def _anybody(self) -> Row:
        found = {name: self._class(term.anybody) for name, term in self.terms.items() if term.anybody != NO_PORT}
        return {name: allowed for name, allowed in found.items() if allowed != NOTHING}

    def _class(self, matches: Matches) -> Allowed:
        if matches not in self.classes:
            self.classes[matches] = self.ports.of(matches)
        return self.classes[matches]

    def _row(self, tags: frozenset[str]) -> Row:
        found: dict[str, Matches] = {}
        for tag in _whole(tags):
            for profile, matches in self.mentions.get(tag, ()):
                before = found[profile] if profile in found else self.terms[profile].anybody
                found[profile] = _either(before, matches)
        row = {profile: self._class(matches) for profile, matches in found.items()}
        base = self.known[0]
        return {profile: allowed for profile, allowed in row.items() if allowed != base.get(profile, NOTHING)}

    def _hash(self, row: Row) -> int:
        text = repr(sorted((profile, allowed and self.ports.matches(allowed)) for profile, allowed in row.items()))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) or 1


def rows_of(sides: Mapping[str, Side], before: Rows | None = None) -> Rows:
    """The rows of these sides; those of others spare the work on what both have."""
    old: Mapping[str, Term] = before.terms if before else {}
    kept = {name for name, side in sides.items() if before and before.sides.get(name) is side}
    if before and len(kept) == len(sides) == len(old):
        return before
    same = {matches: matches for matches in before.asked} if before else {}  # equal ones one object: quick to compare
    terms = {name: old[name] if name in kept else _term(side, same) for name, side in sides.items()}
    asked = frozenset[frozenset[PortMatch]]().union(*(term.asked for term in terms.values()))
    mentions = before.mentions.copy() if before else {}  # copy() is much quicker than dict() where entries left holes
    for name in old.keys() - kept:
        for id_ in old[name].peers:
            rest = tuple(entry for entry in mentions.pop(id_) if entry[0] != name)
            if rest:
                mentions[id_] = rest
    for name in terms.keys() - kept:
        for id_, matches in terms[name].peers.items():
            mentions[id_] = (*mentions.get(id_, ()), (name, matches))
    if before and before.asked == asked:
        return Rows(dict(sides), terms, asked, before.ports, mentions, before.classes)
    return Rows(dict(sides), terms, asked, port_classes(asked), mentions, {None: None})


def _whole(tags: frozenset[str]) -> Iterable[str]:
    for tag in tags:
        if not tag.endswith(INSIDE):
            if not tag.endswith(GUARDED):
                yield tag
            elif tag[:-1] + INSIDE in tags:
                yield tag[:-1]


def _term(side: Side, same: dict[frozenset[PortMatch], frozenset[PortMatch]]) -> Term:
    anybody: Matches = NO_PORT
    peers: dict[str, Matches] = {}
    for rule in side.rules:
        if rule.action is not Action.ALLOW:
            raise NotImplementedError(f"{rule.why}: only ALLOW has Tables")
        ports = None if rule.ports is None else frozenset(rule.ports)
        ports = ports and same.setdefault(ports, ports)
        if rule.peers is None:
            anybody = _either(anybody, ports)
        for id_ in rule.peers or ():
            peers[id_] = _either(peers.get(id_, NO_PORT), ports)
    asked = {matches for matches in (anybody, *peers.values()) if matches}
    return Term(anybody, peers, frozenset(asked))


def _either(one: Matches, other: Matches) -> Matches:
    return None if one is None or other is None else (one | other if one else other)
