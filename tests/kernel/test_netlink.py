"""Many requests at once: each has its own answer, and one that is refused stops no other."""

from ipaddress import ip_address, ip_network

import pytest

from inside import run_inside
from vallum.kernel import rtmessages
from vallum.kernel.netlink import CREATE, EXCL, Refusal
from vallum.kernel.rtmessages import DELROUTE, GETROUTE, NEWROUTE
from vallum.kernel.rtnetlink import Rtnetlink, pack_route
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets

MANY = 1000
ROUTES = [Route(ip_network((0x0A010000 + 256 * number, 24)), None, "lo") for number in range(MANY)]


def add(netlink: Rtnetlink, routes: list[Route]) -> list[bytes | Refusal | None]:
    index = netlink.link("lo").index
    return netlink.many([(NEWROUTE, pack_route(route, 86, index), CREATE | EXCL) for route in routes])


def test_a_thousand_requests_are_carried_out_in_order() -> None:
    def piece() -> tuple[set[bytes | Refusal | None], int]:
        with Rtnetlink() as netlink:
            netlink.set_link("lo", up=True)
            done = set(add(netlink, ROUTES))
            return done, len([one for one in netlink.routes() if one.protocol == 86])

    assert run_inside(piece) == ({None}, MANY)


def test_each_refusal_is_of_its_own_request_and_the_others_are_carried_out() -> None:
    """Every third is there already; all refused is the most that the kernel answers at once."""

    def piece() -> tuple[list[int], int, set[int | None], str]:
        with Rtnetlink() as netlink:
            netlink.set_link("lo", up=True)
            add(netlink, ROUTES[::3])
            first = add(netlink, ROUTES)
            refused = [at for at, answer in enumerate(first) if isinstance(answer, Refusal)]
            count = len([one for one in netlink.routes() if one.protocol == 86])
            again = add(netlink, ROUTES)
            words = str(again[0].error("add route")) if isinstance(again[0], Refusal) else ""
            return refused, count, {each.errno if isinstance(each, Refusal) else None for each in again}, words

    refused, count, errors, words = run_inside(piece)
    assert refused == list(range(0, MANY, 3))
    assert count == MANY
    assert errors == {17}
    assert words == "add route: File exists"


def test_queries_and_acts_may_be_mixed_and_later_requests_hear_their_own_answers() -> None:
    def piece() -> tuple[list[str], str]:
        with Rtnetlink() as netlink:
            netlink.set_link("lo", up=True)
            netlink.add_route(ROUTES[0])
            query = rtmessages.way_to(ip_address("10.1.0.9"))
            gone = rtmessages.route(ROUTES[0].destination, 4, scope=rtmessages.SCOPE_NOWHERE)
            answers = netlink.many(
                [(GETROUTE, query, 0), (DELROUTE, gone, 0), (GETROUTE, query, 0), (GETROUTE, query, 0)]
            )
            return [type(answer).__name__ for answer in answers], netlink.link("lo").name

    assert run_inside(piece) == (["bytes", "NoneType", "Refusal", "Refusal"], "lo")


def test_nothing_to_send_is_nothing_sent() -> None:
    assert run_inside(lambda: Rtnetlink().many([])) == []
