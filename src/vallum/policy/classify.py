"""Ruleset -> Tables: the same decisions by recursive flow classification (Gupta and McKeown, 1999).

Three small equivalence relations (profile, address class, port class) and one table of cells. Addresses and ports
are equal by what may be done with them only, so ten thousand peers that may do the same are one class. An address is
classed by way of its kind, so a peer that is a whole namespace or the whole cluster costs the kinds in it and no
address. Which rule it was is not kept here: `judge` says that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from immutables import Map
from pyroaring import BitMap

from vallum.model.address import Packed
from vallum.model.packet import PORTED, Packet
from vallum.policy.index import NOBODY, People
from vallum.policy.judge import judge_flow
from vallum.policy.ports import PORTLESS, PortClasses
from vallum.policy.rows import GUARDED, INSIDE, Allowed, Rows, rows_of
from vallum.policy.ruleset import Local, Ruleset, Way
from vallum.policy.sets import Shape, Span
from vallum.policy.spans import cut
from vallum.policy.verdict import Reason, Why

Tags = frozenset[str]
"""What is known of an address: the sets that it is in, by id."""

_UNKNOWN: Tags = frozenset()
Cover = tuple[tuple[Packed, Packed, Tags], ...]


@dataclass(frozen=True, eq=False)
class Half:
    """One direction of a node's Tables.

    `profiles`: isolated local pods by address. `kinds`: the sets that each kind of pod is in, if any; `cover`: the
    sets that each range of addresses is in. `rows` tells what the profiles may exchange with an address of these sets,
    and which sets make no difference: those share a class. Class 0 is what nothing here mentions.
    """

    profiles: Mapping[Packed, str]
    people: People
    kinds: Map[int, Tags]
    ranges: Mapping[str, tuple[Span, ...]]
    cover: Cover
    rows: Rows
    shapes: Mapping[str, Shape]

    @property
    def ports(self) -> PortClasses:
        """The port classes."""
        return self.rows.ports

    def address_class(self, address: Packed) -> int:
        """The class of a remote address."""
        return self.rows.number(self._tags(address))

    def allowed(self, profile: str, address_class: int) -> Allowed:
        """What this profile may exchange with this class of addresses."""
        return self.rows.allowed(profile, address_class)

    def passes(self, local: Packed, remote: Packed, protocol: int, port: int) -> bool | None:
        """The decision for a local address; None when nothing isolates it."""
        profile = self.profiles.get(local)
        if profile is None:
            return None
        row = self.allowed(profile, self.address_class(remote))
        return row is None or self.ports.find(protocol, port) in row

    def _tags(self, address: Packed) -> Tags:
        kind = self.people.kinds.get(address)
        own = _UNKNOWN if kind is None else self.kinds.get(kind, _UNKNOWN)
        if not self.cover:
            return own
        return own | covering(self.cover, address)

    # the same, spelled out for those who write it down

    @cached_property
    def exact(self) -> Mapping[Packed, int]:
        """Address -> class, of every address whose class is not that of the range that it lies in."""
        members = self.people.members
        if not self.cover:
            numbers = ((kind, self.rows.number(tags)) for kind, tags in self.kinds.items())
            return {address: number for kind, number in numbers if number for address in members[kind]}
        found = {}
        for kind, tags in self.kinds.items():
            for address in members[kind]:
                around = covering(self.cover, address)
                number = self.rows.number(tags | around)
                if number != self.rows.number(around):
                    found[address] = number
        return found

    @cached_property
    def spans(self) -> tuple[tuple[Packed, Packed, int], ...]:
        """(first, last, class) of every range that is not class 0, neighbours of one class joined."""
        return _joined((low, high, self.rows.number(tags)) for low, high, tags in self.cover)

    @cached_property
    def cells(self) -> Mapping[tuple[str, int], Allowed]:
        """(profile, class) -> what passes. A missing cell is that of class 0, a missing one of class 0 is nothing."""
        used = {0, *self.exact.values(), *(number for _, _, number in self.spans)}
        return {(profile, number): row for number in used for profile, row in self.rows.row(number).items()}

    @cached_property
    def groups(self) -> Mapping[int, tuple[list[Packed], list[tuple[Packed, Packed]]]]:
        """Class -> its addresses and its ranges."""
        found: dict[int, tuple[list[Packed], list[tuple[Packed, Packed]]]] = {}
        for address, number in self.exact.items():
            found.setdefault(number, ([], []))[0].append(address)
        for low, high, number in self.spans:
            found.setdefault(number, ([], []))[1].append((low, high))
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Half):
            return NotImplemented
        mine = (self.profiles, self.exact, self.spans, self.ports, self.cells)
        return mine == (other.profiles, other.exact, other.spans, other.ports, other.cells)

    __hash__ = None  # type: ignore[assignment] # compared in tests, never a key


@dataclass(frozen=True, slots=True)
class Tables:
    """Both directions, and the local pods by address."""

    ingress: Half
    egress: Half
    owners: Mapping[Packed, Local]

    def half(self, way: Way) -> Half:
        """One direction."""
        return self.ingress if way is Way.INGRESS else self.egress


def classify(ruleset: Ruleset, before: Tables | None = None) -> Tables:
    """The Tables of a Ruleset. Those of an earlier one spare the work on what is still the same.

    Raises NotImplementedError for actions beyond ALLOW (tiers have no Tables yet).
    """
    ingress, egress = (_half(ruleset, way, before.half(way) if before else None) for way in Way)
    return Tables(ingress, egress, ruleset.owners())


def decide(tables: Tables, packet: Packet) -> bool:
    """Whether the packet passes, by look-ups only. Agrees with `judge` on every packet (tested)."""

    def side(local: Local, way: Way, remote: Packed, packet: Packet) -> Why:
        flow_port = packet.dport if packet.protocol in PORTED else 0
        passed = tables.half(way).passes(local.addresses[0], remote, packet.protocol, flow_port)
        kind = {None: Reason.NOT_ISOLATED, True: Reason.RULE, False: Reason.ISOLATED}[passed]
        return Why(kind, "by the tables")

    return judge_flow(tables.owners, packet, side).allow


def covering(cover: Cover, address: Packed) -> Tags:
    """The sets of the range that holds the address."""
    index = bisect_right(cover, address, key=lambda entry: entry[0]) - 1
    return cover[index][2] if index >= 0 and address <= cover[index][1] else _UNKNOWN


def _half(ruleset: Ruleset, way: Way, before: Half | None) -> Half:
    side_in = attrgetter(way)
    isolated = [(local, side) for local in ruleset.locals if (side := side_in(local)).policies]
    profiles = {address: side.name for local, side in isolated for address in local.addresses}
    sides = {side.name: side for _, side in isolated}
    rows = rows_of(sides, before.rows if before else None)
    people, shapes = ruleset.sets.people, ruleset.sets.shapes
    if before is None:
        mentioned = [shapes[id_] for id_ in rows.mentions]
        fresh = {tag: spans for shape in mentioned for tag, spans in _ranges(shape)}
        return Half(profiles, people, _kinds(mentioned), fresh, _cover(fresh), rows, shapes)
    pairs = list(_changed(before, rows, shapes))
    kinds, ranges, cover = _moved(before.kinds, pairs), before.ranges, before.cover
    news = [(dict(_ranges(old)), dict(_ranges(new))) for old, new in pairs if _ranged(old) or _ranged(new)]
    if any(old != new for old, new in news):
        gone = {tag for old, _ in news for tag in old}
        stay = {tag: spans for tag, spans in ranges.items() if tag not in gone}
        ranges = stay | {tag: spans for _, new in news for tag, spans in new.items()}
        cover = _cover(ranges)
    return Half(profiles, people, kinds, ranges, cover, rows, shapes)


def _changed(before: Half, rows: Rows, shapes: Mapping[str, Shape]) -> Iterable[tuple[Shape | None, Shape | None]]:
    """(before, after) of every set that the rows mention and that is not the very same as it was."""
    olds, was, now = before.shapes, before.rows.mentions, rows.mentions
    moved = [id_ for id_ in now if olds.get(id_) is not shapes[id_]]
    for id_ in moved if rows is before.rows else dict.fromkeys((*moved, *rows.named_otherwise(before.rows))):
        old, new = olds[id_] if id_ in was else None, shapes[id_] if id_ in now else None
        if old is not new:
            yield old, new


def _kinds(shapes: Iterable[Shape]) -> Map[int, Tags]:
    """The sets that each kind is in. Equal answers are one object."""
    found: dict[int, list[str]] = {}
    for shape in shapes:
        for tag, kinds in _tagged(shape):
            for number in kinds:
                found.setdefault(number, []).append(tag)
    known: dict[Tags, Tags] = {}
    tags = ((number, frozenset(ids)) for number, ids in found.items())
    return Map({number: known.setdefault(ids, ids) for number, ids in tags})


def _moved(kinds: Map[int, Tags], pairs: Iterable[tuple[Shape | None, Shape | None]]) -> Map[int, Tags]:
    """What `_kinds` gives after these sets became those."""
    joined: dict[tuple[Tags, str], Tags] = {}
    left: dict[tuple[Tags, str], Tags] = {}
    changing = kinds.mutate()
    for before, after in pairs:
        old, new = dict(_tagged(before)), dict(_tagged(after))
        for tag in {**old, **new}:
            was, now = old.get(tag, NOBODY), new.get(tag, NOBODY)
            for number in was - now:
                tags = changing[number]
                rest = left.setdefault((tags, tag), tags - {tag})
                if rest:
                    changing[number] = rest
                else:
                    del changing[number]
            for number in now - was:
                tags = changing.get(number, _UNKNOWN)
                changing[number] = joined.setdefault((tags, tag), tags | {tag})
    return changing.finish()


def _tagged(shape: Shape | None) -> Iterable[tuple[str, BitMap]]:
    if shape is not None and shape.kinds:
        yield shape.id, shape.kinds
    if shape is not None and shape.guarded:
        yield shape.id + GUARDED, shape.guarded


def _ranged(shape: Shape | None) -> bool:
    return shape is not None and bool(shape.spans or shape.guarded)


def _ranges(shape: Shape | None) -> Iterable[tuple[str, tuple[Span, ...]]]:
    if shape is not None and shape.spans:
        yield shape.id, shape.spans
    if shape is not None and shape.guarded:
        yield shape.id + INSIDE, shape.inside


def _cover(ranges: Mapping[str, tuple[Span, ...]]) -> Cover:
    return tuple((low, high, tags) for (low, high), tags in cut(ranges))


def _joined(spans: Iterable[tuple[Packed, Packed, int]]) -> tuple[tuple[Packed, Packed, int], ...]:
    found: list[tuple[Packed, Packed, int]] = []
    for low, high, number in spans:
        if not number:
            continue
        if found and found[-1][2] == number and found[-1][1] + 1 == low:
            found[-1] = (found[-1][0], high, number)
        else:
            found.append((low, high, number))
    return tuple(found)


assert PORTLESS == 0  # class 0 of the ports stands for portless protocols and for ports nobody mentions
