"""What is made of trials, and one real trial of each kind of damage in a shop with agents. No time is asserted."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from vallum.kernel import sandbox
from vallum.lab.bench import report, restore
from vallum.lab.bench.damage import KINDS
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.restore import QUICK_TRIALS, TRIALS, Result, Trial, explains, judged, measured
from vallum.sources.folder import read_world

SHOP = Path(__file__).parents[3] / "examples/shop"
FLUSH = KINDS[0]
TRIAL = Trial(30.0, 20.0, 35.0, 12, "nft[77]", "1 x deleted table")


def trials(*restored: float):
    return [(FLUSH, [replace(TRIAL, restored=one) for one in restored])]


def test_a_goal_is_met_only_when_the_slowest_trial_is():
    assert all(goal.met for goal in judged(trials(*[30.0] * 49, 99.0)).goals)
    slow = judged(trials(*[30.0] * 49, 101.0)).goals[0]
    assert (slow.says, slow.high, slow.limit) == ("not shown", 101.0, 100.0)
    assert judged(trials(*[130.0] * 50)).goals[0].says == "not met"


def test_packets_have_a_goal_of_their_own():
    found = judged([(FLUSH, [replace(TRIAL, obeyed=150.0)])])
    assert [goal.says for goal in found.goals] == ["met", "not met", "met"]


@pytest.mark.parametrize(
    ("by", "how", "explained"),
    [
        ("nft[77]", "1 x deleted table", True),
        ("unknown program", "found by reading back", False),
        ("firewalld[77]", "1 x deleted table", False),
        ("nft[77]", "1 x deleted rule", False),
    ],
)
def test_status_explains_when_it_names_the_program_and_the_deed(by: str, how: str, explained: bool):
    trial = replace(TRIAL, by=by, how=how)
    assert explains(FLUSH, trial) is explained
    assert judged([(FLUSH, [TRIAL, trial])]).goals[-1].met is explained


def test_the_record_has_the_form_of_every_bench_and_the_table_a_line_a_kind():
    found = judged([(kind, [TRIAL] * TRIALS) for kind in KINDS])
    record = json.loads(report.show("restore", found.rows, found.goals, lambda: restore.text(found), "json"))
    assert list(record) == ["bench", "commit", "kernel", "cores", "rows", "goals"]
    assert [row["damage"] for row in record["rows"]] == [kind.name for kind in KINDS]
    assert {row["trials"] for row in record["rows"]} == {TRIALS} != {QUICK_TRIALS}
    lines = restore.text(found).splitlines()
    assert [line for kind in KINDS for line in lines if line.startswith(f"{kind.name}  ")]


@pytest.mark.packets
def test_every_kind_of_damage_opens_what_was_denied_and_is_repaired_and_explained():
    refusal = sandbox.probe()
    if refusal:
        pytest.skip(refusal)
    objects = read_world(SHOP).objects
    found = in_sandbox(lambda: asyncio.run(measured(objects, 2)), Result, Path("/"))
    assert {row.damage: row.named for row in found.rows} == {kind.name: 2 for kind in KINDS}
    assert all(row.leaked for row in found.rows)
    assert all(0 < row.restored_p50_ms <= row.started_p99_ms for row in found.rows)
