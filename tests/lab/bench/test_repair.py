"""What is made of trials, and one real trial of each kind of damage. No time is asserted."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from vallum.kernel import sandbox
from vallum.lab.bench import repair, report
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.repair import KINDS, QUICK_TRIALS, TRIALS, Result, Trial, judged, measured, silence
from vallum.network import BACKENDS

TRIAL = Trial(30.0, ("routes: 10.44.2.0/24 was gone",), named=True)
ROUTE = KINDS["hostgw"][0]


def test_the_silence_is_the_longest_one_that_ends_after_the_damage():
    assert silence([1.0, 3.0, 3.1, 3.9, 4.0], 3.05) == pytest.approx(0.8)
    assert silence([1.0, 3.0, 3.1], 2.0) == pytest.approx(2.0)
    assert silence([1.0, 2.0], 5.0) == 0


def test_a_goal_is_met_only_when_the_slowest_trial_is_and_status_named_each():
    slow = judged([("hostgw", ROUTE, [TRIAL] * 9 + [replace(TRIAL, silence=1200.0)])])
    assert [goal.says for goal in slow.goals] == ["not shown", "met"]
    unnamed = judged([("hostgw", ROUTE, [TRIAL, replace(TRIAL, named=False)])])
    assert [goal.says for goal in unnamed.goals] == ["met", "not met"]


def test_the_record_has_the_form_of_every_bench_and_the_table_a_line_a_kind():
    found = judged([(road, kind, [TRIAL] * TRIALS) for road, kinds in KINDS.items() for kind in kinds])
    record = json.loads(report.show("repair", found.rows, found.goals, lambda: repair.text(found), "json"))
    assert list(record) == ["bench", "commit", "kernel", "cores", "rows", "goals"]
    assert {row["road"] for row in record["rows"]} == set(BACKENDS)
    assert {row["trials"] for row in record["rows"]} == {TRIALS} != {QUICK_TRIALS}
    assert sum("10.44.2.0/24 was gone" in line for line in repair.text(found).splitlines()) == len(found.rows)


@pytest.mark.packets
def test_every_kind_of_damage_is_repaired_and_named():
    """On the road that knows all of them."""
    if refusal := sandbox.probe():
        pytest.skip(refusal)
    found = in_sandbox(lambda: asyncio.run(measured(1, {"vxlan": KINDS["vxlan"]})), Result, Path("/"))
    assert {kind for kinds in KINDS.values() for kind in kinds} == {*KINDS["vxlan"]}
    assert {(row.damage, row.named) for row in found.rows} == {(kind.name, 1) for kind in KINDS["vxlan"]}
    assert all(row.max_ms > 0 for row in found.rows)
