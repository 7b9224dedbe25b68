"""Make the kernel be what a back end planned, sending only the difference.

Ours are the devices whose name begins with DEVICE_PREFIX, all that is on them, and the routes of the main table with
our protocol number. What others own is never touched: where one of them is in the way, that is a problem to report.
Read-back decides, so a fresh start sweeps what an earlier life left, and repairing drift is the same act as the first
set-up. Where nothing moved but the wish, nothing is read: the difference between the wishes is sent. What it ignores:
origins and masquerade (`gate`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from vallum.kernel import differ, held
from vallum.kernel.differ import Entry, Own, Thing, name
from vallum.kernel.programs import Programs
from vallum.kernel.rtnetlink import HeldRoute, Rtnetlink
from vallum.kernel.steps import ADD, DELETE, PUT, Needs, laid, swept
from vallum.kernel.work import Work
from vallum.model.address import Network
from vallum.model.wiring import DEVICE_PREFIX, Forward, Ipip, Neighbour, Problem, Route, Vxlan, Wiring

_MOST = 8
"""Pieces of drift of one kind that are told in full."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a sync left in the kernel; hand it to the next.

    Attributes:
        wish: what was to stand.
        lacking: what of that does not.
        others: routes of somebody else that were read, by destination.
        indexes: of the links.
        whole: nothing was refused or in the way, so that the next difference may be sent unread.
    """

    wish: Wiring = field(default_factory=Wiring)
    lacking: frozenset[Thing] = frozenset()
    others: Mapping[Network, HeldRoute] = field(default_factory=dict)
    indexes: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False

    def stood(self, thing: Thing) -> bool:
        """Reports whether the kernel held this."""
        match thing:
            case Own():
                there = any(thing.device == one.name and thing.address in one.addresses for one in self.wish.devices)
            case Neighbour():
                there = thing in self.wish.neighbours
            case Forward():
                there = thing in self.wish.forwards
            case Vxlan() | Ipip():
                there = thing in self.wish.devices
            case _:
                there = thing in self.wish.routes
        return there and thing not in self.lacking


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What was done, and what was found changed by somebody else. Devices are removed by name, in words.

    `drift` says what stood and how it was found; `programs` what was changed of ipip by programs.
    """

    standing: Standing = field(default_factory=Standing)
    added: tuple[Thing | str, ...] = ()
    replaced: tuple[Thing | str, ...] = ()
    removed: tuple[Thing | str, ...] = ()
    programs: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def sync(wiring: Wiring, before: Standing | None = None, *, moved: bool = True) -> SyncReport:
    """Sync the namespace of the calling thread.

    Args:
        wiring: what must exist; its problems are passed on in the report.
        before: `standing` of the last report. Without it nothing is called drift, it is only repaired.
        moved: something of the kernel may have changed since then.

    Raises:
        KernelError: the kernel could not be read. A single thing that is refused is a problem instead.
    """
    before = before or Standing()
    with Rtnetlink() as netlink:
        if not moved and before.whole and before.wish.devices == wiring.devices:
            report = _unread(netlink, wiring, before)
            if report is not None:
                return report
        return _read(netlink, wiring, before)


def _unread(netlink: Rtnetlink, wiring: Wiring, before: Standing) -> SyncReport | None:
    """Send what the wishes differ by. None where something is in the way, which only reading can tell."""
    wish = before.wish
    needs = Needs(
        (
            differ.entries(wiring.neighbours, wish.neighbours, (), _never),
            differ.entries(wiring.forwards, wish.forwards, (), _never),
        ),
        differ.routes(
            wiring.routes - wish.routes, differ.held_by_us(wish.routes - wiring.routes), before.others, _never
        ),
    )
    if needs.routes.problems:
        return None
    work = Work(netlink)
    programs = Programs(netlink, wiring, wish)
    programs.stand(read=False)
    work.carry_out((*laid(needs, before.indexes), *swept(needs, before.indexes)))
    programs.settle(read=False)
    if work.problems or programs.problems:
        return None
    return _report(work, programs, wiring, replace(before, wish=wiring))


def _read(netlink: Rtnetlink, wiring: Wiring, before: Standing) -> SyncReport:
    """Read all, send what differs."""
    work, programs = Work(netlink), Programs(netlink, wiring, before.wish)
    need = differ.devices(wiring.devices, held.devices(netlink), before.stood)
    work.stand(need)
    programs.stand(read=True)
    links = netlink.links()
    indexes = {link.name: link.index for link in links}
    routes = held.routes(netlink, {link.index: link.name for link in links})
    needs = _needs(netlink, wiring, routes, indexes, before=before, shaken=work.shaken)
    for drift in (*(each.drift for each in needs.entries), needs.routes.drift):
        work.drift += _in_short(drift)
    work.problems += needs.routes.problems
    work.carry_out((*laid(needs, indexes), *swept(needs, indexes)))
    programs.settle(read=True)
    work.delete(need.stale)
    homeless = tuple(_homeless(wiring, indexes))
    work.problems += [
        Problem(name(one), f"there is no device {one.device}")
        for one in homeless
        if isinstance(one, Route) and not (one.device or "").startswith(DEVICE_PREFIX)
    ]
    lacking = {*work.refused, *homeless, *(one for one in wiring.routes if one.destination in routes.others)}
    whole = not work.problems and not programs.problems
    standing = Standing(wiring, frozenset(lacking), routes.others, indexes, whole)
    return _report(work, programs, wiring, standing)


def _needs(
    netlink: Rtnetlink,
    wiring: Wiring,
    routes: held.Routes,
    indexes: Mapping[str, int],
    *,
    before: Standing,
    shaken: set[str],
) -> Needs:
    """With the last of its addresses a device loses most of what is on it: the address alone is named then."""
    here = {device.name: indexes[device.name] for device in wiring.devices if device.name in indexes}
    entries = held.entries(netlink, here)
    own = differ.entries(_owns(wiring), entries.owns, (), partial(_stood, before, shaken))
    stood = partial(_stood, before, shaken | {one.device for one in own.added if isinstance(one, Own)})
    return Needs(
        (
            own,
            differ.entries(wiring.neighbours, entries.neighbours, (), stood),
            differ.entries(wiring.forwards, entries.forwards, entries.odd, stood),
        ),
        differ.routes(wiring.routes, routes.ours, routes.others, stood),
    )


def _owns(wiring: Wiring) -> frozenset[Entry]:
    return frozenset(Own(device.name, own) for device in wiring.devices for own in device.addresses)


def _in_short(drift: tuple[str, ...]) -> tuple[str, ...]:
    """Who flushes a table of thousands need not be told of each."""
    more = len(drift) - _MOST
    return drift if more <= 1 else (*drift[:_MOST], f"{drift[_MOST]}, and so {more - 1:,} more")


def _report(work: Work, programs: Programs, wiring: Wiring, standing: Standing) -> SyncReport:
    done = {verb: tuple(work.done[verb]) for verb in (ADD, PUT, DELETE)}
    problems = (*wiring.problems, *work.problems, *programs.problems)
    drift = (*work.drift, *programs.drift)
    return SyncReport(standing, done[ADD], done[PUT], done[DELETE], tuple(programs.changed), drift, problems)


def _homeless(wiring: Wiring, indexes: Mapping[str, int]) -> Iterator[Thing]:
    """What cannot stand because its device is not there."""
    yield from (one for one in wiring.devices if one.name not in indexes)
    entries: tuple[Entry, ...] = (*wiring.neighbours, *wiring.forwards)
    yield from (one for one in entries if one.device not in indexes)
    yield from (one for one in wiring.routes if one.device is not None and one.device not in indexes)


def _stood(before: Standing, shaken: set[str], thing: Thing) -> bool:
    """What went with its device is told of by the device."""
    on = thing.name if isinstance(thing, Vxlan | Ipip) else thing.device
    return on not in shaken and before.stood(thing)


def _never(_: Thing) -> bool:
    return False
