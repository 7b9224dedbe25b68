"""Ipip by programs within a sync: a way that is in use stays until its route leads elsewhere."""

from ipaddress import ip_address, ip_network
from typing import cast

import pytest

from vallum.kernel import ipip
from vallum.kernel.ipip import IpipReport
from vallum.kernel.programs import Programs
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.wiring import Carried, Ipip, Origin, Problem, Wiring

DEVICE = Ipip("vallum.ipip", "bpf", 1480, ip_address("172.20.0.11"))
NOWHERE = cast("Rtnetlink", None)
"""It is handed on, and asked nothing here."""


def wiring(*peers: int, remote: int = 0) -> Wiring:
    """So many peers; `remote`: of the first one, if it has moved."""
    pairs = [(ip_network(f"10.44.{peer}.0/24"), ip_address(f"172.20.0.{remote or peer}")) for peer in peers]
    return Wiring(
        devices=frozenset({DEVICE}),
        carried=frozenset(Carried(DEVICE.name, inner, outer) for inner, outer in pairs),
        origins=frozenset(Origin(DEVICE.name, outer, inner) for inner, outer in pairs),
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Wiring, bool]]:
    """What the programs are told, in turn."""
    found: list[tuple[Wiring, bool]] = []

    def sync_bpf(_: Rtnetlink, wiring: Wiring, *, read: bool) -> IpipReport:
        found.append((wiring, read))
        return IpipReport(("device",), ("it was gone",), (Problem("device", "refused"),))

    monkeypatch.setattr(ipip, "sync_bpf", sync_bpf)
    return found


def test_a_peer_that_leaves_the_tunnel_keeps_its_way_until_routes_lead_elsewhere(
    told: list[tuple[Wiring, bool]],
) -> None:
    programs = Programs(NOWHERE, wiring(12), wiring(12, 13))
    programs.stand(read=True)
    assert told == [(wiring(12, 13), True)]
    programs.settle(read=True)
    assert told[1:] == [(wiring(12), False)]


def test_a_peer_that_moves_has_one_way_the_new_one(told: list[tuple[Wiring, bool]]) -> None:
    programs = Programs(NOWHERE, wiring(12, remote=99), wiring(12))
    programs.stand(read=False)
    ((first, _),) = told
    assert first.carried == wiring(12, remote=99).carried
    assert first.origins == wiring(12, remote=99).origins | wiring(12).origins


def test_where_nothing_leaves_they_are_told_once(told: list[tuple[Wiring, bool]]) -> None:
    programs = Programs(NOWHERE, wiring(12, 13), wiring(12))
    programs.stand(read=False)
    programs.settle(read=False)
    assert told == [(wiring(12, 13), False)]


def test_a_tunnel_that_nobody_wants_any_more_goes_last(told: list[tuple[Wiring, bool]]) -> None:
    programs = Programs(NOWHERE, Wiring(), wiring(12))
    programs.stand(read=True)
    assert told == []
    programs.settle(read=True)
    assert told == [(Wiring(), True)]


def test_who_never_wanted_one_is_never_asked(told: list[tuple[Wiring, bool]]) -> None:
    programs = Programs(NOWHERE, Wiring(), Wiring())
    programs.stand(read=False)
    programs.settle(read=False)
    assert told == []


def test_a_problem_that_is_found_twice_is_told_once(told: list[tuple[Wiring, bool]]) -> None:
    programs = Programs(NOWHERE, wiring(12), wiring(12, 13))
    programs.stand(read=True)
    programs.settle(read=True)
    assert len(told) == 2
    assert programs.problems == [Problem("device", "refused")]
