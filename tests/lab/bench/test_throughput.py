"""The whole measurement over a fake arena: what is measured and proved, what becomes of figures, what is printed."""

from dataclasses import replace
from random import Random

import pytest

from vallum.lab.bench.arena import ends_on
from vallum.lab.bench.stream import PORT, Flow
from vallum.lab.bench.throughput import FULL, QUICK, Plan, Result, carry_out
from vallum.lab.bench.throughput_plan import CELLS, CONDITIONS, DIRECT, LINK, POLICIES, ROADS, Cell, Condition, world
from vallum.lab.bench.throughput_results import Series, goals
from vallum.lab.bench.throughput_tables import STUDY, text
from vallum.model.address import pack
from vallum.model.errors import KernelError
from vallum.model.objects import TCP
from vallum.model.packet import Packet
from vallum.network import BACKENDS
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge

SHARES = {"direct": 1.0, "hostgw": 0.99, "ipip": 0.97, "vxlan": 0.95}
PLAN = Plan(rounds=8, most=24, warm=0.1, length=0.2)


class FakeSeat:
    """A way that carries its share of 10 Gbit/s, or of the link, less half a point with policies; and some noise."""

    def __init__(self, arena: "FakeArena", cell: Cell) -> None:
        self._arena, self._cell, self.proved = arena, cell, False

    def prove(self) -> None:
        self.proved = True

    def run(self, warm: float, length: float) -> Flow:
        arena = self._arena
        assert self.proved
        assert arena.condition is not None
        arena.asked.append((arena.condition, self._cell, warm, length))
        share = arena.shares[self._cell.road] - (0.005 if self._cell.policies or self._cell.tracking else 0)
        rate = (arena.condition.rate or 10e9) * share * arena.rng.uniform(1 - arena.noise, 1 + arena.noise)
        return Flow(round(rate * length / 8), length, 0.4, 3, 1448)


class FakeArena:
    def __init__(self, noise: float = 0.001, **shares: float) -> None:
        self.shares, self.noise = SHARES | shares, noise
        self.rng = Random(1)
        self.condition: Condition | None = None
        self.asked: list[tuple[Condition, Cell, float, float]] = []
        self.seats: dict[Cell, FakeSeat] = {}

    def seat(self, cell: Cell) -> FakeSeat:
        return self.seats.setdefault(cell, FakeSeat(self, cell))

    def set(self, condition: Condition) -> None:
        self.condition = condition


def carried(plan: Plan = PLAN, noise: float = 0.001, **shares: float) -> tuple[Result, FakeArena]:
    arena = FakeArena(noise, **shares)
    return carry_out(plan, arena, lambda _: None), arena


def test_every_back_end_is_measured_with_and_without_policies_beside_host_to_host():
    assert set(ROADS) == set(BACKENDS)
    roads = {Cell(road, count) for road in BACKENDS for count in (0, 1_000)}
    assert {*CELLS} == {Cell(DIRECT), Cell("hostgw", tracking=True), *roads}
    assert {(each.rate, each.offload) for each in CONDITIONS} == {
        (rate, offload) for rate in (LINK, None) for offload in (True, False)
    }
    assert QUICK.conditions == FULL.conditions == CONDITIONS


def test_every_cell_under_every_condition_becomes_a_row_with_its_share_of_the_same_rounds():
    found, _ = carried()
    assert len(found.rows) == len(CELLS) * len(CONDITIONS)
    for row in found.rows:
        wanted = 100 * SHARES[row.road] - (0.5 if row.policies or row.tracking else 0)
        assert row.percent == pytest.approx(wanted, abs=0.2)
        assert row.percent_low <= row.percent <= row.percent_high
        assert (row.cost is None) == (row.policies == 0 and not row.tracking)
        if row.cost is not None:
            assert row.cost == pytest.approx(0.5, abs=0.2)


def test_rounds_hold_each_cell_once_in_changing_order():
    plan = replace(PLAN, conditions=CONDITIONS[:1], most=8)
    _, arena = carried(plan)
    cells = [cell for _, cell, _, _ in arena.asked]
    rounds = [tuple(cells[at : at + len(CELLS)]) for at in range(0, len(cells), len(CELLS))]
    assert all(set(each) == set(CELLS) for each in rounds)
    assert len(set(rounds)) > len(rounds) / 2
    assert {(warm, length) for _, _, warm, length in arena.asked} == {(0.1, 0.2)}


def test_goals_say_which_road_loses_too_much():
    found, _ = carried(vxlan=0.70)
    says = {goal.goal: goal.says for goal in found.goals}
    assert says["% lost to node to node, vxlan: link-bound, offload on"] == "not met"
    assert says["% lost to node to node, vxlan: CPU-bound, offload on"] == "not met"
    assert says["% lost to node to node, ipip: link-bound, offload on"] == "met"
    assert says["points that 1,000 policies cost, hostgw: CPU-bound, offload off"] == "met"
    assert not [goal for goal in says if goal.startswith("% lost") and goal.endswith("offload off")]
    assert says["points that 1,000 policies cost, vxlan: CPU-bound, offload on"] == "met"


def test_an_open_goal_gets_rounds_up_to_the_most_and_is_then_not_shown():
    _, calm = carried(replace(PLAN, conditions=CONDITIONS[:1]))
    found, arena = carried(replace(PLAN, conditions=CONDITIONS[:1]), noise=0.05, hostgw=0.98)
    assert len(calm.asked) == PLAN.rounds * len(CELLS)
    assert len(arena.asked) == PLAN.most * len(CELLS)
    assert "not shown" in {goal.says for goal in found.goals}


def test_a_stream_that_breaks_ends_the_measurement_with_the_reason():
    class Broken(FakeSeat):
        def run(self, warm: float, length: float) -> Flow:
            raise KernelError(f"the stream broke: stalled in {warm + length} s")

    arena = FakeArena()
    arena.seats[Cell("vxlan")] = Broken(arena, Cell("vxlan"))
    with pytest.raises(KernelError, match="stalled"):
        carry_out(PLAN, arena, lambda _: None)


def test_only_the_last_policy_admits_the_stream_and_all_select_both_pods():
    ends = ends_on(2, 4)
    packet = Packet(
        pack(ends.client.addresses[0]), pack(ends.server.addresses[0]), TCP, PORT, 40000, sender=ends.client.id
    )
    for without_last, allowed in ((False, True), (True, False)):
        rules = compile_node(world(ends, 50, without_last=without_last), None)
        assert judge(rules, packet).allow is allowed
    assert len(world(ends, POLICIES).policies) == POLICIES
    assert not world(ends, 0).policies


def test_the_study_stands_beside_ours_and_every_row_and_goal_is_printed():
    found, _ = carried(noise=0)
    printed = text(found.rows, found.goals)
    lines = printed.splitlines()
    for name, then, ours in STUDY:
        (line,) = (line for line in lines if line.startswith(f"{name}  "))
        assert line.split("  ")[-1].strip() == {"hostgw": "99.0", "ipip": "97.0", "vxlan": "95.0"}.get(ours, "94.5")
        assert f" {then} " in line
    assert all(any(line.startswith(goal.goal) for line in lines) for goal in found.goals)
    assert [line for line in lines if line in set(map(str, CONDITIONS))] == list(map(str, CONDITIONS))


def test_without_a_partner_in_the_same_rounds_nothing_is_said():
    one = Series(Cell("vxlan"), [Flow(1, 1, 1, 0, 1398)])
    with pytest.raises((StopIteration, ValueError)):
        goals(CONDITIONS[0], [Series(Cell(DIRECT)), one])
