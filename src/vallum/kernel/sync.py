"""Make the kernel's routes be what a back end planned, sending only the difference.

Ours are the routes of the main table with our protocol number. What others own is never touched: where one of
them has the same destination, that is a problem to report. Read-back decides, so a fresh start sweeps what an
earlier life left, and repairing drift is the same act as the first set-up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import HeldRoute, Rtnetlink, show
from vallum.model.address import Network
from vallum.model.wiring import ROUTE_PROTOCOL, Problem, Route, Wiring

Item = TypeVar("Item", Route, HeldRoute)

_METRIC = {4: 0, 6: 1024}
"""What the kernel gives a route that states none."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A route of ours that somebody deleted (`found` None) or changed since the last sync."""

    route: Route
    found: Route | None

    def __str__(self) -> str:
        was = "was gone" if self.found is None else f"had become {show(self.found)}"
        return f"{show(self.route)} {was}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be done. `removed` names the held routes, with their metric."""

    added: tuple[Route, ...] = ()
    replaced: tuple[Route, ...] = ()
    removed: tuple[HeldRoute, ...] = ()
    drift: tuple[Drift, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What was done. `standing`: the wanted routes that the kernel holds now; hand it to the next sync."""

    standing: frozenset[Route] = frozenset()
    added: tuple[Route, ...] = ()
    replaced: tuple[Route, ...] = ()
    removed: tuple[Route, ...] = ()
    drift: tuple[Drift, ...] = ()
    problems: tuple[Problem, ...] = ()


def sync(wiring: Wiring, before: frozenset[Route] = frozenset()) -> SyncReport:
    """Sync the namespace of the calling thread.

    Args:
        wiring: what must exist; its problems are passed on in the report.
        before: `standing` of the last report. Without it nothing is called drift, it is only repaired.

    Raises:
        KernelError: the routes could not be read. A single route that is refused is a problem instead.
    """
    with Rtnetlink() as netlink:
        need = differ(wiring.routes, netlink.routes(), before)
        problems = [*wiring.problems, *need.problems]
        removed = _each(need.removed, lambda held: _remove(netlink, held), problems)
        replaced = _each(need.replaced, lambda route: netlink.replace_route(route, protocol=ROUTE_PROTOCOL), problems)
        added = _each(need.added, lambda route: netlink.add_route(route, protocol=ROUTE_PROTOCOL), problems)
    refused = {*need.added, *need.replaced} - {*added, *replaced}
    foreign = {problem.subject for problem in need.problems}
    standing = frozenset(route for route in wiring.routes - refused if show(route) not in foreign)
    return SyncReport(standing, added, replaced, tuple(held.route for held in removed), need.drift, tuple(problems))


def differ(wanted: frozenset[Route], held: Iterable[HeldRoute], before: frozenset[Route]) -> Difference:
    """What must change for `wanted` to stand. Pure."""
    ours, others = _by_destination(held)
    added, replaced, drift, problems = [], [], [], []
    for route in sorted(wanted, key=show):
        mine = [one for one in ours.get(route.destination, ()) if _same_place(one)]
        if (other := others.get(route.destination)) is not None:
            problems.append(_owned_by_another(route, other))
        elif any(_is(one, route) for one in mine):
            continue
        elif mine:
            replaced.append(route)
        else:
            added.append(route)
        if route in before and not any(_is(one, route) for one in mine):
            found = mine[0] if mine else other
            drift.append(Drift(route, None if found is None else found.route))
    destinations = {route.destination for route in wanted}
    removed = tuple(
        one
        for many in ours.values()
        for one in many
        if one.route.destination not in destinations or not _same_place(one)
    )
    return Difference(tuple(added), tuple(replaced), removed, tuple(drift), tuple(problems))


def _by_destination(
    held: Iterable[HeldRoute],
) -> tuple[dict[Network, list[HeldRoute]], dict[Network, HeldRoute]]:
    """Ours, all of them, and the first of others for each destination."""
    ours: dict[Network, list[HeldRoute]] = {}
    others: dict[Network, HeldRoute] = {}
    for one in held:
        if one.protocol == ROUTE_PROTOCOL:
            ours.setdefault(one.route.destination, []).append(one)
        else:
            others.setdefault(one.route.destination, one)
    return ours, others


def _is(held: HeldRoute, wanted: Route) -> bool:
    same_device = wanted.device is None or wanted.device == held.route.device
    return held.plain and same_device and held.route.gateway == wanted.gateway


def _same_place(held: HeldRoute) -> bool:
    """Reports whether a route that states no metric would take this one's place."""
    return held.metric == _METRIC[held.route.destination.version]


def _owned_by_another(route: Route, other: HeldRoute) -> Problem:
    owner = f"protocol {other.protocol}, metric {other.metric}"
    return Problem(show(route), f"another program has {show(other.route)} ({owner}); it is left alone")


def _remove(netlink: Rtnetlink, held: HeldRoute) -> None:
    netlink.delete_route(held.route.destination, protocol=ROUTE_PROTOCOL, metric=held.metric)


def _each(items: tuple[Item, ...], act: Callable[[Item], None], problems: list[Problem]) -> tuple[Item, ...]:
    """Act on each; those that went well. A refusal is a problem of that route alone."""
    done = []
    for item in items:
        try:
            act(item)
        except RequestError as error:
            route = item.route if isinstance(item, HeldRoute) else item
            problems.append(Problem(show(route), str(error)))
        else:
            done.append(item)
    return tuple(done)
