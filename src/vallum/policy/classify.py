"""Ruleset -> Tables: the same decisions by recursive flow classification (Gupta and McKeown, 1999).

Three small equivalence relations (profile, address class, port class) and one table of cells. Addresses and ports
are equal by what may be done with them only, so ten thousand peers that may do the same are one class. Which rule
it was is not kept here: `judge` says that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vallum.model.address import Packed
from vallum.model.packet import PORTED, Packet
from vallum.policy.judge import judge_flow, side_of
from vallum.policy.ports import PORTLESS, PortClasses, port_classes
from vallum.policy.ruleset import Action, Local, PortMatch, Ruleset, Side, Way
from vallum.policy.spans import Span, cut
from vallum.policy.verdict import Reason, Why

Allowed = frozenset[int] | None
"""The port classes that pass; None: everything, portless protocols too."""

NOTHING: Allowed = frozenset()


@dataclass(frozen=True, slots=True)
class Half:
    """One direction of a node's Tables.

    `profiles`: isolated local pods by address. `exact` and `spans`: address -> class, exact first; an address in
    neither is class 0, which nothing here mentions. `cells`: (profile, address class) -> what passes; a missing
    cell is that of class 0, a missing cell of class 0 is nothing.
    """

    profiles: Mapping[Packed, str]
    exact: Mapping[Packed, int]
    spans: tuple[tuple[Packed, Packed, int], ...]
    ports: PortClasses
    cells: Mapping[tuple[str, int], Allowed]

    def address_class(self, address: Packed) -> int:
        """The class of a remote address."""
        found = self.exact.get(address)
        return found if found is not None else span_class(self.spans, address)

    def allowed(self, profile: str, address_class: int) -> Allowed:
        """What this profile may exchange with this class of addresses."""
        if (profile, address_class) in self.cells:  # None is a row too
            return self.cells[profile, address_class]
        return self.cells.get((profile, 0), NOTHING)

    def passes(self, local: Packed, remote: Packed, protocol: int, port: int) -> bool | None:
        """The decision for a local address; None when nothing isolates it."""
        profile = self.profiles.get(local)
        if profile is None:
            return None
        row = self.allowed(profile, self.address_class(remote))
        return row is None or self.ports.find(protocol, port) in row


@dataclass(frozen=True, slots=True)
class Tables:
    """Both directions, and the local pods by address."""

    ingress: Half
    egress: Half
    owners: Mapping[Packed, Local]

    def half(self, way: Way) -> Half:
        """One direction."""
        return self.ingress if way is Way.INGRESS else self.egress


_Row = dict[str, frozenset[PortMatch] | None]


def classify(ruleset: Ruleset) -> Tables:
    """The Tables of a Ruleset. Raises InputError for actions beyond ALLOW (tiers have no Tables yet)."""
    return Tables(_half(ruleset, Way.INGRESS), _half(ruleset, Way.EGRESS), ruleset.owners())


def decide(tables: Tables, packet: Packet) -> bool:
    """Whether the packet passes, by look-ups only. Agrees with `judge` on every packet (tested)."""

    def side(local: Local, way: Way, remote: Packed, packet: Packet) -> Why:
        flow_port = packet.dport if packet.protocol in PORTED else 0
        passed = tables.half(way).passes(local.addresses[0], remote, packet.protocol, flow_port)
        kind = {None: Reason.NOT_ISOLATED, True: Reason.RULE, False: Reason.ISOLATED}[passed]
        return Why(kind, "by the tables")

    return judge_flow(tables.owners, packet, side).allow


def span_class(spans: tuple[tuple[Packed, Packed, int], ...], address: Packed) -> int:
    """The class of the span that holds the address, 0 if none does."""
    index = bisect_right(spans, address, key=lambda entry: entry[0]) - 1
    return spans[index][2] if index >= 0 and address <= spans[index][1] else 0


def _half(ruleset: Ruleset, way: Way) -> Half:
    sides = {side.name: side for local in ruleset.locals if (side := side_of(local, way)).isolated}
    terms = {name: _terms(side) for name, side in sides.items()}
    mentioned = {id_ for term in terms.values() for id_ in term if id_ is not None}
    spans = cut({id_: ruleset.sets[id_].spans for id_ in mentioned})
    signatures = _signatures(ruleset, mentioned, spans)
    rows = {sets: _row(terms, sets) for sets in {*signatures.values(), *(sets for _, sets in spans), frozenset()}}
    ports = port_classes(rows.values())
    numbers, cells = _number(rows, ports, sides)
    by_span = _merged((span, numbers[sets]) for span, sets in spans)
    exact = {
        address: numbers[sets] for address, sets in signatures.items() if numbers[sets] != span_class(by_span, address)
    }
    profiles = {
        address: side.name
        for local in ruleset.locals
        if (side := side_of(local, way)).isolated
        for address in local.addresses
    }
    return Half(profiles, exact, by_span, ports, cells)


def _terms(side: Side) -> dict[str | None, frozenset[PortMatch] | None]:
    """Peer set (None: any) -> what its rules allow together."""
    found: dict[str | None, frozenset[PortMatch] | None] = {}
    for rule in side.rules:
        if rule.action is not Action.ALLOW:
            raise NotImplementedError(f"{rule.why}: only ALLOW has Tables")
        for id_ in rule.peers if rule.peers is not None else (None,):
            before = found.get(id_, frozenset())
            found[id_] = None if before is None or rule.ports is None else before | frozenset(rule.ports)
    return found


def _signatures(
    ruleset: Ruleset, mentioned: set[str], spans: list[tuple[Span, frozenset[str]]]
) -> dict[Packed, frozenset[str]]:
    """For each address that a selector names: all the sets it is in, ipBlocks included."""
    named: dict[Packed, list[str]] = {}
    for id_ in mentioned:
        for address in ruleset.sets[id_].addresses:
            named.setdefault(address, []).append(id_)
    starts = [span[0] for span, _ in spans]
    found = {}
    for address, ids in named.items():
        index = bisect_right(starts, address) - 1
        inside = index >= 0 and address <= spans[index][0][1]
        found[address] = frozenset(ids) | (spans[index][1] if inside else frozenset())
    return found


def _row(terms: Mapping[str, dict[str | None, frozenset[PortMatch] | None]], sets: frozenset[str]) -> _Row:
    """What each profile allows to an address that is in these sets. Profiles that allow nothing are left out."""
    row: _Row = {}
    for profile, term in terms.items():
        allowed: set[PortMatch] = set()
        for id_ in (None, *sets) if len(sets) < len(term) else term:
            if id_ not in term or not (id_ is None or id_ in sets):
                continue
            ports = term[id_]
            if ports is None:
                row[profile] = None
                break
            allowed |= ports
        else:
            if allowed:
                row[profile] = frozenset(allowed)
    return row


def _number(
    rows: Mapping[frozenset[str], _Row], ports: PortClasses, sides: Iterable[str]
) -> tuple[dict[frozenset[str], int], dict[tuple[str, int], Allowed]]:
    """Class numbers of the signatures, equal where rows are equal, and the cells that differ from class 0."""
    in_classes = {sets: {p: ports.of(matches) for p, matches in row.items()} for sets, row in rows.items()}
    base = in_classes[frozenset()]
    numbers: dict[frozenset[tuple[str, Allowed]], int] = {frozenset(base.items()): 0}
    cells: dict[tuple[str, int], Allowed] = {(profile, 0): row for profile, row in base.items()}
    found = {}
    for sets in sorted(in_classes, key=sorted):
        row = in_classes[sets]
        number = numbers.setdefault(frozenset(row.items()), len(numbers))
        found[sets] = number
        for profile in sides if number else ():
            if row.get(profile, NOTHING) != base.get(profile, NOTHING):
                cells[profile, number] = row.get(profile, NOTHING)
    return found, cells


def _merged(spans: Iterable[tuple[Span, int]]) -> tuple[tuple[Packed, Packed, int], ...]:
    """Neighbouring spans of one class become one; class 0 needs none."""
    found: list[tuple[Packed, Packed, int]] = []
    for (low, high), number in spans:
        if not number:
            continue
        if found and found[-1][2] == number and found[-1][1] + 1 == low:
            found[-1] = (found[-1][0], high, number)
        else:
            found.append((low, high, number))
    return tuple(found)


assert PORTLESS == 0  # class 0 of the ports stands for portless protocols and for ports nobody mentions
