"""The whole measurement over a fake arena: what is measured, what is proved before, and what it says at the end."""

import json
from dataclasses import fields
from typing import Any

import pytest
import yaml

from lab.bench.fakes import FakeArena
from vallum.lab.bench import policy_cost, report
from vallum.lab.bench.policy_cost import FULL, QUICK, Group, Plan, Result, carry_out, cells_of
from vallum.lab.bench.results import Row
from vallum.lab.bench.rounds import Cell, Pace
from vallum.model.errors import KernelError

SMALL = Plan(
    (Group("one-node", "ports"), Group("one-node", "ranges"), Group("two-nodes", "blocks")),
    (0, 10, 20),
    (512, 1 << 20),
    Pace(8, 40, 5),
)


def cost(plane: str, count: int):
    return {"none": 1.0, "tracking": 1.15}.get(plane, 1.16 + count / 10_000)


def carried(plan: Plan = SMALL, **options: Any) -> tuple[Result, FakeArena, list[str]]:
    told: list[str] = []
    arena = FakeArena(**options)
    return carry_out(plan, arena, told.append), arena, told


def test_every_cell_of_every_group_and_size_becomes_a_row():
    found, arena, told = carried(cost=cost)
    keys = {(row.plane, row.path, row.shape, row.policies, row.size) for row in found.rows}
    assert len(keys) == len(found.rows) == 3 * 2 * 5
    assert arena.sizes == {512, 1 << 20}
    assert [line.split()[0] for line in told] == ["1/3", "2/3", "3/3"]


def test_ratios_are_those_of_the_medians_to_the_bare_path():
    found, _, _ = carried(cost=cost)
    for row in found.rows:
        bare = next(
            one
            for one in found.rows
            if (one.plane, one.path, one.shape, one.size) == ("none", row.path, row.shape, row.size)
        )
        assert row.ratio == pytest.approx(row.median_us / bare.median_us)
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.median_us <= row.p99_us


def test_goals_are_met_when_the_plane_is_flat_and_near_tracking():
    found, _, _ = carried(cost=cost)
    assert [goal.says for goal in found.goals] == ["met"] * len(found.goals)
    assert len(found.goals) == 3 * 2 * 2 + 1


def test_ipv6_has_to_be_flat_and_its_ratio_to_tracking_is_no_goal():
    found, _, _ = carried(Plan((Group("two-nodes", "ports", 6),), (0, 10), (512,), Pace(6, 6, 5)), cost=cost)
    assert [goal.goal for goal in found.goals] == [
        "nftables at 10 policies against 0: two-nodes, ports, .5k, IPv6",
        "failed requests",
    ]
    assert {row.family for row in found.rows} == {6}


def test_a_plane_that_grows_misses_its_goals():
    found, _, _ = carried(cost=lambda plane, count: 1 + count / 100 if plane == "nftables" else 1)
    says = {goal.goal: goal.says for goal in found.goals}
    assert says["nftables at 20 policies against 0: one-node, ports, .5k"] == "not met"
    assert says["nftables at 20 policies against tracking: one-node, ports, .5k"] == "not met"


def test_a_goal_that_straddles_its_limit_gets_rounds_up_to_the_most_and_is_then_not_shown():
    plan = Plan((Group("one-node", "ports"),), (0, 10), (512,), Pace(10, 40, 2))
    found, _, _ = carried(plan, cost=lambda _, count: 1 + 0.05 * bool(count))
    against = found.goals[0]
    assert (against.says, against.met) == ("not shown", False)
    assert {row.requests for row in found.rows} == {40 * 2}


def test_a_goal_that_is_clear_stops_at_the_first_rounds():
    plan = Plan((Group("one-node", "ports"),), (0, 10), (512,), Pace(10, 400, 2))
    found, _, _ = carried(plan, cost=cost)
    assert {row.requests for row in found.rows} == {10 * 2}


def test_failed_requests_are_counted_and_miss_the_goal():
    found, _, _ = carried(cost=cost, failing=True)
    assert all(row.failures == 8 for row in found.rows)
    assert found.goals[-1].says == "not met"


def test_a_plane_that_does_not_enforce_is_found_before_anything_is_measured():
    with pytest.raises(KernelError, match="gets through without the policy that admits it"):
        carried(leaky=("nftables",))


def test_each_cell_with_policies_is_first_held_without_the_last():
    _, arena, _ = carried(Plan((Group("one-node", "peers"),), (0, 10), (512,), Pace(6, 6, 1)))
    assert arena.held == [("none", 0), ("tracking", 0), ("nftables", 0), ("nftables", 9), ("nftables", 10)]


def test_json_has_exactly_the_promised_keys():
    found, _, _ = carried(cost=cost)
    record = json.loads(report.show("policy-cost", found.rows, found.goals, str, "json"))
    assert list(record) == ["bench", "commit", "kernel", "cores", "rows", "goals"]
    assert record["bench"] == "policy-cost"
    assert {tuple(row) for row in record["rows"]} == {tuple(field.name for field in fields(Row))}
    assert all({"goal", "value", "limit", "met"} <= set(goal) for goal in record["goals"])
    assert yaml.safe_load(report.show("policy-cost", found.rows, found.goals, str, "yaml")) == record


def test_quick_and_full_measure_what_the_readme_of_the_bench_says():
    assert QUICK.counts == (0, 200, 10_000)
    assert QUICK.sizes == (512,)
    all_shapes = {"ports", "peers", "both", "blocks", "ranges"}
    for family in (4, 6):
        ours = [group for group in QUICK.groups if group.family == family]
        assert {group.shape for group in ours if group.path == "one-node"} == all_shapes
        assert [group.shape for group in ours if group.path == "two-nodes"] == ["ports"]
    assert len(set(FULL.groups)) == 2 * 2 * len(all_shapes)
    assert FULL.counts == (0, 10, 50, 100, 200, 1_000, 10_000)
    assert FULL.sizes == (512, 1_024, 10_240, 102_400, 1_048_576)
    assert cells_of(Group("one-node", "ports", 6), (0, 200))[-1] == Cell("nftables", "one-node", "ports", 200, 6)


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.5, 1)])
def test_the_exit_status_tells_whether_every_goal_is_met(monkeypatch: pytest.MonkeyPatch, factor: float, status: int):
    arena = FakeArena(cost=lambda plane, count: factor if count and plane == "nftables" else 1.0)
    monkeypatch.setattr(policy_cost, "load_tool", lambda: SMALL_TOOL)
    monkeypatch.setattr(policy_cost, "in_sandbox", lambda *_: carry_out(SMALL, arena, lambda _: None))
    printed = []
    assert policy_cost.run(quick=True, output="table", echo=printed.append) == status
    assert "Goals" in printed[0]


SMALL_TOOL = policy_cost.Path("load")
