"""What is published of a node, when, and what the cluster's status makes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vallum.agent.nodestate import LEAST, MOST, SPREAD, Due, document, state
from vallum.agent.rollout import policy_at, rollout
from vallum.agent.settings import Settings
from vallum.agent.status import Status

CRDS = Path(__file__).parents[2] / "deploy" / "crds.yaml"


def schema() -> dict[str, Any]:
    every = yaml.safe_load_all(CRDS.read_text())
    (crd,) = (each for each in every if each["metadata"]["name"] == "nodestates.vallum.dev")
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["status"]  # type: ignore[no-any-return]


def published(**changes: Any) -> dict[str, Any]:
    status = {"policyRevision": "100", "ready": True, "plane": "nftables", "backend": "hostgw"}
    return status | {"started": "s", "updated": "now"} | changes


def policy(name: str, revision: int, *times: str) -> dict[str, Any]:
    meta = {"namespace": "a", "name": name, "resourceVersion": str(revision), "creationTimestamp": "first"}
    return {"metadata": meta | {"managedFields": [{"time": time} for time in times]}}


def test_the_first_write_is_at_once():
    assert Due().wait(1000.0, changed=True) == 0


def test_then_a_change_waits_until_ten_seconds_after_the_last_write_and_chance_adds_a_little():
    for chance in (0.0, 0.5, 1.0):
        gap = LEAST * (1 + SPREAD * chance)
        due = Due(1000.0, chance)
        assert due.wait(1001.0, changed=True) == pytest.approx(gap - 1)
        assert due.wait(1000.0 + gap, changed=True) == 0
        assert due.wait(1000.0 + gap, changed=False) == pytest.approx((MOST - LEAST) * (1 + SPREAD * chance))


def test_what_is_published_has_all_that_the_schema_asks_for_and_nothing_that_it_drops():
    known = schema()
    status = state(Status(Settings("n", Path("w"))).facts(0), ("10.0.0.1",))
    body = document("n", "uid-of-n", status, "2026-01-01T00:00:00Z")
    assert set(known["required"]) <= set(body["status"]) <= set(known["properties"])
    kinds = {"string": str, "boolean": bool, "integer": int, "array": list}
    for key, value in body["status"].items():
        assert isinstance(value, kinds[known["properties"][key]["type"]]), key


def test_the_node_owns_its_state():
    (owner,) = document("n", "uid-of-n", {}, "")["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "uid-of-n"}


def test_a_policy_is_enforced_where_the_kernel_holds_its_revision_or_a_later_one():
    rows = rollout(map(policy_at, [policy("p", 100), policy("o", 99)]), {"n": published()}, ["n"])
    assert [(row.policy.name, row.enforced, row.nodes, row.late) for row in rows] == [
        ("a/o", 1, 1, ()),
        ("a/p", 1, 1, ()),
    ]


def test_a_late_node_is_named_with_the_time_of_the_change_and_what_it_holds():
    (row,) = rollout([policy_at(policy("p", 101, "t1", "t2"))], {"n": published(), "m": published()}, ["n", "m"])
    assert row.enforced == 0
    assert [(late.node, late.since) for late in row.late] == [("m", "t2"), ("n", "t2")]
    assert "revision 100" in row.late[0].why


def test_why_a_node_is_late_is_what_its_agent_said_last():
    states = {
        "broken": published(ready=False, lastError="no memory", lastErrorSince="noon"),
        "starting": published(ready=False, policyRevision=""),
    }
    (row,) = rollout([policy_at(policy("p", 7))], states, ["broken", "starting", "silent"])
    assert [(late.node, late.since, late.why) for late in row.late] == [
        ("broken", "noon", "no memory"),
        ("silent", "first", "no agent has reported from there"),
        ("starting", "first", "its agent enforces nothing yet"),
    ]


def test_revisions_are_numbers_and_not_texts():
    (row,) = rollout([policy_at(policy("p", 99))], {"n": published(policyRevision="1000")}, ["n"])
    assert row.late == ()
