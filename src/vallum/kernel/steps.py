"""The messages that carry out what differs, in an order in which traffic that can flow keeps flowing. Pure.

What a route stands on is there before the route and goes after it, and what takes another's place is sent before
anything is removed. What it ignores: devices, which must stand first (`sync`), and what is refused.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vallum.kernel import rtmessages
from vallum.kernel.differ import Difference, Entry, Own, Thing, name
from vallum.kernel.netlink import CREATE, EXCL, REPLACE
from vallum.kernel.rtmessages import DELADDR, DELNEIGH, DELROUTE, NEWADDR, NEWNEIGH, NEWROUTE
from vallum.kernel.rtnetlink import HeldRoute, pack_route
from vallum.model.wiring import ROUTE_PROTOCOL, Forward, Neighbour, Route

ADD, PUT, DELETE = "add", "replace", "delete"
GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})
"""Refusals of a removal that say that there is nothing to remove."""

Message = tuple[int, bytes, int]
"""Kind, bytes and flags, as `Netlink.many` takes it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What differs, kind by kind: `entries` in the order in which they stand on each other, then routes."""

    entries: tuple[Difference[Entry, Entry], ...]
    routes: Difference[Route, HeldRoute]


@dataclass(frozen=True, slots=True)
class Step:
    """One message, and what it does to what. A removal is of what was `held`."""

    verb: str
    thing: Thing
    message: Message

    @property
    def operation(self) -> str:
        """For the text of an error."""
        return f"{self.verb} {'route ' * isinstance(self.thing, Route)}{name(self.thing)}"


def laid(needs: Needs, indexes: Mapping[str, int]) -> Iterator[Step]:
    """What is added, or takes the place of what is there. What would be on a device that is not there is left out."""
    for need in needs.entries:
        for verb, things in ((PUT, need.replaced), (ADD, need.added)):
            for one in things:
                if one.device in indexes:
                    yield Step(verb, one, _entry(one, indexes[one.device], delete=False))
    flags = {PUT: CREATE | REPLACE, ADD: CREATE | EXCL}
    for verb, routes in ((PUT, needs.routes.replaced), (ADD, needs.routes.added)):
        for route in routes:
            if route.device is None or route.device in indexes:
                message = pack_route(route, ROUTE_PROTOCOL, indexes.get(route.device or ""))
                yield Step(verb, route, (NEWROUTE, message, flags[verb]))


def swept(needs: Needs, indexes: Mapping[str, int]) -> Iterator[Step]:
    """What is removed."""
    for held in needs.routes.removed:
        anywhere, destination = rtmessages.SCOPE_NOWHERE, held.route.destination
        message = rtmessages.route(destination, ROUTE_PROTOCOL, scope=anywhere, metric=held.metric)
        yield Step(DELETE, held.route, (DELROUTE, message, 0))
    for need in reversed(needs.entries):
        for one in need.removed:
            if one.device in indexes:
                yield Step(DELETE, one, _entry(one, indexes[one.device], delete=True))


def _entry(entry: Entry, index: int, *, delete: bool) -> Message:
    """An entry of a neighbour that nobody knows is replaced as well: the kernel may be asking for it just now."""
    match entry:
        case Own():
            message = rtmessages.address(index, entry.address, detected=entry.address.version == 4)
            return (DELADDR, message, 0) if delete else (NEWADDR, message, CREATE | EXCL)
        case Neighbour():
            if delete:
                return DELNEIGH, rtmessages.no_neighbour(index, entry.address), 0
            return NEWNEIGH, rtmessages.neighbour(index, entry.address, entry.mac), CREATE | REPLACE
        case Forward():
            if delete:
                return DELNEIGH, rtmessages.no_forward(index, entry.mac), 0
            return NEWNEIGH, rtmessages.forward(index, entry.mac, entry.remote), CREATE | REPLACE
