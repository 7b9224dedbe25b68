"""What must change for a Wiring to stand, given what was read. Pure.

Devices, the node's addresses on them, neighbours, forwarding entries and routes, each kind by itself. What stood after
the last sync and does not now is drift, and is said in words. What it ignores: the order of sending (`steps`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vallum.kernel import tunnels
from vallum.kernel.rtnetlink import HeldRoute, show
from vallum.kernel.tunnels import HeldDevice
from vallum.model.address import Network
from vallum.model.wiring import (
    DEVICE_PREFIX,
    ROUTE_PROTOCOL,
    Device,
    Forward,
    Interface,
    Ipip,
    Neighbour,
    Problem,
    Route,
    Vxlan,
)

_METRIC = {4: 0, 6: 1024}
"""What the kernel gives a route that states none."""


@dataclass(frozen=True, slots=True)
class Own:
    """An address of the node on a device of ours."""

    device: str
    address: Interface


Entry = Own | Neighbour | Forward
Thing = Device | Entry | Route
Wanted = TypeVar("Wanted")
Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class Difference(Generic[Wanted, Held]):
    """What has to be done for one kind. `replaced` takes the place of what is there, so that there is no gap."""

    added: tuple[Wanted, ...] = ()
    replaced: tuple[Wanted, ...] = ()
    removed: tuple[Held, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Devices:
    """What has to be done for devices, in this order. `cleared`: in the way of `made`; `stale`: once no route is left.

    `changed`: with the index, and the live properties that are to be set. `blocked`: cannot be made.
    """

    cleared: tuple[HeldDevice, ...] = ()
    made: tuple[Device, ...] = ()
    changed: tuple[tuple[Device, int, frozenset[str]], ...] = ()
    blocked: tuple[Device, ...] = ()
    stale: tuple[HeldDevice, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


Stood = Callable[[Thing], bool]
"""Reports whether the kernel held this after the last sync."""


def name(thing: Thing) -> str:
    """What a person calls it, as `ip` and `bridge` write it."""
    match thing:
        case Route():
            return show(thing)
        case Own():
            return f"address {thing.address} dev {thing.device}"
        case Neighbour():
            return f"neighbour {thing.address} dev {thing.device} lladdr {thing.mac}"
        case Forward():
            return f"fdb {thing.mac} dev {thing.device} dst {thing.remote}"
        case _:
            return f"device {thing.name}"


def ours(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Those that netlink makes whole; the others are a pair of links with programs (`kernel.ipip`)."""
    found = (one for one in devices if not isinstance(one, Ipip) or one.driver == "kernel")
    return tuple(sorted(found, key=lambda one: one.name))


def devices(wanted: frozenset[Device], held: Iterable[HeldDevice], stood: Stood) -> Devices:
    """`held`: all links of the namespace."""
    here = {one.link.name: one for one in held}
    wishes, names = ours(wanted), {one.name for one in wanted}
    cleared: list[HeldDevice] = []
    made, changed, blocked, drift, problems = [], [], [], [], []
    for wish in wishes:
        rivals = [one for one in here.values() if one.link.name != wish.name and tunnels.clashes(one, wish)]
        if foreign := [one for one in rivals if not _is_ours(one)]:
            problems.append(_in_the_way(wish, foreign[0]))
            blocked.append(wish)
            continue
        found, (fixed, live) = here.get(wish.name), tunnels.wanted(wish)
        if found is None or found.fixed != fixed:
            made.append(wish)
            cleared += [*rivals, *([found] if found else [])]
            wrong = fixed
        elif what := _differing(live, found.live):
            changed.append((wish, found.link.index, what))
            wrong = live
        else:
            continue
        if stood(wish):
            drift.append(f"{name(wish)} {_became(found, wrong) if found else 'was gone'}")
    kept = {wish.name for wish in wishes} | {one.link.name for one in cleared}
    spare = [one for one in here.values() if _is_ours(one) and one.fixed[tunnels.KIND] != "veth"]
    stale = [one for one in spare if one.link.name not in kept]
    cleared += [one for one in stale if one.link.name in names]  # a pair of links is to have this name
    stale = [one for one in stale if one.link.name not in names]
    plain = (tuple(cleared), tuple(made), tuple(changed), tuple(blocked), tuple(stale))
    return Devices(*plain, tuple(drift), tuple(problems))


def entries(
    wanted: frozenset[Entry], held: frozenset[Entry], odd: Iterable[Entry], stood: Stood
) -> Difference[Entry, Entry]:
    """What must change for exactly `wanted` to stand, all of one kind.

    Args:
        wanted: what must stand.
        held: what does.
        odd: what stands, but is not what can be said of it: to be replaced, or to go.
        stood: for drift.
    """
    extra = {_key(one): one for one in (*(held - wanted), *odd)}
    added: list[Entry] = []
    replaced: list[Entry] = []
    drift = []
    for one in sorted(wanted - held, key=name):
        found = extra.pop(_key(one), None)
        (added if found is None else replaced).append(one)
        if stood(one):
            drift.append(f"{name(one)} {_was(None if found is None else name(found))}")
    return Difference(tuple(added), tuple(replaced), tuple(extra.values()), tuple(drift))


def routes(
    wanted: frozenset[Route], held: Iterable[HeldRoute], others: Mapping[Network, HeldRoute], stood: Stood
) -> Difference[Route, HeldRoute]:
    """`held`: ours; `others`: a route of somebody else for each destination that has one."""
    mine: dict[Network, list[HeldRoute]] = {}
    for one in held:
        mine.setdefault(one.route.destination, []).append(one)
    added: list[Route] = []
    replaced: list[Route] = []
    drift, problems = [], []
    for route in wanted:
        here = [one for one in mine.get(route.destination, ()) if _same_place(one)]
        fits = any(_is(one, route) for one in here)
        if (other := others.get(route.destination)) is not None:
            problems.append(_owned_by_another(route, other))
        elif not fits:
            (replaced if here else added).append(route)
        if not fits and stood(route):
            found = here[0] if here else other
            drift.append(f"{show(route)} {_was(None if found is None else show(found.route))}")
    destinations = {route.destination for route in wanted}
    removed = [
        one
        for many in mine.values()
        for one in many
        if one.route.destination not in destinations or not _same_place(one)
    ]
    return Difference(
        tuple(sorted(added, key=show)),
        tuple(sorted(replaced, key=show)),
        tuple(removed),
        tuple(sorted(drift)),
        tuple(sorted(problems, key=str)),
    )


def held_by_us(routes: Iterable[Route]) -> tuple[HeldRoute, ...]:
    """As they would be read if they stood as we wrote them."""
    return tuple(HeldRoute(route, ROUTE_PROTOCOL, _METRIC[route.destination.version]) for route in routes)


def _is_ours(held: HeldDevice) -> bool:
    return held.link.name.startswith(DEVICE_PREFIX)


def _key(entry: Entry) -> Hashable:
    """Where a second one takes the place of the first."""
    match entry:
        case Own():
            return entry
        case Neighbour():
            return entry.device, entry.address
        case Forward():
            return entry.device, entry.mac


def _was(found: str | None) -> str:
    return "was gone" if found is None else f"had become {found}"


def _differing(wanted: tunnels.Properties, found: tunnels.Properties) -> frozenset[str]:
    return frozenset(what for what, value in wanted.items() if found.get(what) != value)


def _became(found: HeldDevice, wanted: tunnels.Properties) -> str:
    told = {**found.fixed, **found.live}
    if wanted.get(tunnels.KIND, told[tunnels.KIND]) != told[tunnels.KIND]:
        return f"had become a {told[tunnels.KIND] or 'link of hardware'}"
    return "had become " + ", ".join(_word(what, told.get(what)) for what in sorted(_differing(wanted, told)))


def _word(what: str, value: object) -> str:
    if what == tunnels.UP:
        return "down"
    if isinstance(value, bool):
        return f"{what} {'on' if value else 'off'}"
    return f"{what} {'none' if value in {None, ''} else value}"


def _in_the_way(wish: Device, other: HeldDevice) -> Problem:
    what = f"VNI {wish.vni} on port {wish.port}" if isinstance(wish, Vxlan) else f"ipip from {wish.local}"
    cure = "choose another VNI or port for all nodes (--vxlan-id, --vxlan-port)" if isinstance(wish, Vxlan) else ""
    words = f"device {other.link.name} of another program has {what} already; remove it (ip link del {other.link.name})"
    return Problem(name(wish), words + (f", or {cure}" if cure else ""))


def _is(held: HeldRoute, wanted: Route) -> bool:
    there = held.route
    same_device = wanted.device is None or wanted.device == there.device
    same_way = (there.gateway, there.onlink) == (wanted.gateway, wanted.onlink)
    return held.plain and same_device and same_way and (there.source, there.mtu) == (wanted.source, wanted.mtu)


def _same_place(held: HeldRoute) -> bool:
    """Reports whether a route that states no metric would take this one's place."""
    return held.metric == _METRIC[held.route.destination.version]


def _owned_by_another(route: Route, other: HeldRoute) -> Problem:
    owner = f"protocol {other.protocol}, metric {other.metric}"
    return Problem(show(route), f"another program has {show(other.route)} ({owner}); it is left alone")
