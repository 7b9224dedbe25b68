"""The bench of the roads lays them into a real kernel, judges by its limits, and measures no sync that errs."""

import pytest

from inside import FailedInsideError, run_inside
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.bench.routes import (
    BACKENDS,
    COLD,
    FEW,
    GROWTH,
    LIMITS,
    MEMORY,
    MEND,
    ONE,
    PLAN,
    READ,
    SEND,
    SIZES,
    UPLINK,
    WAYS,
    Row,
    Site,
    exponent,
    judged,
    measured,
    text,
)


def rows(cost: float, power: float = 1.0) -> list[Row]:
    """Each figure this at the smallest size, and growing with this power."""
    return [
        Row(backend, nodes, what, "ms", 9, value, value, value)
        for backend in BACKENDS
        for nodes in SIZES
        for what in (*LIMITS, MEMORY)
        for value in (cost * (nodes / SIZES[0]) ** power,)
    ]


@pytest.mark.packets
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_figure_is_measured_on_a_kernel_that_then_holds_the_wish(backend: str) -> None:
    found = run_inside(lambda: measured(backend, 30, 4, 2))
    assert {row.what for row in found} == {WAYS, PLAN, COLD, FEW, READ, MEND, SEND, ONE, MEMORY}
    assert {(row.backend, row.nodes) for row in found} == {(backend, 30)}
    assert all(row.low <= row.median <= row.high for row in found)


@pytest.mark.packets
def test_what_somebody_else_changes_meanwhile_ends_the_measurement() -> None:
    def piece() -> None:
        site = Site("hostgw", 5)
        site.lay()
        with Rtnetlink() as netlink:
            netlink.delete_link(UPLINK)
        site.check()

    with pytest.raises(FailedInsideError, match=r"a sync changed 0 routes instead of 0.*invalid gateway"):
        run_inside(piece)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_growth_is_the_exponent_of_the_cost_in_nodes(power: float) -> None:
    assert exponent([row for row in rows(3, power) if row.backend == BACKENDS[0]], COLD) == pytest.approx(power)


def test_a_goal_is_met_only_within_its_limit() -> None:
    assert all(goal.met for goal in judged(rows(5)).goals)
    slow = judged(rows(1001, 1.3)).goals
    assert not any(goal.met for goal in slow)
    assert len(slow) == len(BACKENDS) * (len(LIMITS) + len(GROWTH))


def test_the_table_has_every_figure_and_every_goal() -> None:
    shown = text(judged(rows(5)))
    assert "plan and send one node, ms: vxlan, 1,000 nodes" in shown
    assert shown.count("10,000") == len(BACKENDS) * (len(LIMITS) + 1)
