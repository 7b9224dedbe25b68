"""Who may shoot at whom, what counts as leaked, and what is made of starts. The run itself is in tests/kube."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from vallum.lab.bench import arms, podstart, report
from vallum.lab.bench.adds import Adds
from vallum.lab.bench.arms import ADMITS, FOE, FRIEND, Hit, ahead, hit, smaller
from vallum.lab.bench.podstart import FULL, QUICK, judged
from vallum.lab.bench.starts import Start
from vallum.lab.bench.volley import shots

ONE, TWO, STRANGER = map(ip_address, ("10.1.0.2", "10.1.0.3", "10.1.0.9"))
ROLES = {ONE: FRIEND, TWO: FOE}
START = Start("roomy", "object first", 12.0, 10.0, Hit(allowed=5, leaked=0, first=1.0))
ADDS = [Adds(0, 0, (10.0,) * 50, (30.0,) * 50), Adds(10_000, 10, (11.0,) * 50, (30.0,) * 50)]


def test_each_kind_of_pod_counts_what_the_other_admits_as_leaked():
    heard = [(2.0, ONE), (1.0, ONE), (0.5, TWO), (0.1, STRANGER)]
    assert hit("guarded", heard, ROLES) == Hit(allowed=2, leaked=1, first=1.0)
    assert hit("reversed", heard, ROLES) == Hit(allowed=1, leaked=2, first=0.5)
    assert hit("guarded", [], ROLES) == Hit(0, 0, None)


def test_policies_admit_the_role_that_is_counted_as_admitted():
    policies = {
        each["metadata"]["name"]: each["spec"] for each in arms.world(["a", "b"]) if each["kind"] == "NetworkPolicy"
    }
    for kind, role in ADMITS.items():
        assert policies[kind]["podSelector"] == {"matchLabels": {"kind": kind}}
        assert policies[kind]["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"role": role}}}]}]
        assert arms.starting("x", kind, "a")["metadata"]["labels"]["kind"] == kind


def test_both_roles_shoot_from_every_node():
    shooters = [each for each in arms.world(["a", "b"]) if each["metadata"].get("labels", {}).get("role")]
    found = {(each["metadata"]["labels"]["role"], *each["spec"]["nodeSelector"].values()) for each in shooters}
    assert found == {(role, node) for role in (FRIEND, FOE) for node in ("a", "b")}


@pytest.mark.parametrize(
    ("last", "then"),
    [
        ("10.0.0.1", ["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.14", ["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.8", ["10.0.0.9", "10.0.0.10"]),
    ],
)
def test_the_fire_is_ahead_of_a_range_that_goes_round(last: str, then: list[str]):
    assert ahead(ip_network("10.0.0.0/28"), ip_address(last), 2) == list(map(ip_address, then))


def test_a_range_is_made_crowded_in_ipv4_alone():
    assert smaller(ip_network("10.244.1.0/24")) == ip_network("10.244.1.0/28")
    assert smaller(ip_network("fd00::/64")) == ip_network("fd00::/64")


def test_a_shooter_sends_a_datagram_and_a_syn_of_the_targets_family():
    found = list(shots((ONE, ip_address("fd00::1")), TWO))
    assert [shot[9] for shot in found] == [17, 6]
    assert all(shot[12:20] == ONE.packed + TWO.packed for shot in found)
    assert [shot[6] for shot in shots((ONE, ip_address("fd00::1")), ip_address("fd00::2"))] == [17, 6]


def test_the_full_measurement_has_a_thousand_starts():
    assert FULL.kubelet + FULL.roomy + FULL.crowded == 1000
    assert QUICK.kubelet + QUICK.roomy + QUICK.crowded == 60


def test_good_starts_meet_every_goal():
    assert all(goal.met for goal in judged([START] * 10, ADDS).goals)


@pytest.mark.parametrize(
    ("start", "broken"),
    [
        (replace(START, hit=Hit(5, 1, 1.0)), [0]),
        (replace(START, hit=Hit(5, 1, 1.0), reuse="at once"), [0, 1]),
        (replace(START, witnessed=1, reuse="rested"), [2]),
        (replace(START, witnessed=1), [2]),
        (replace(START, witnessed=1, reuse="at once"), []),
        (replace(START, unheard=1), [3]),
    ],
)
def test_one_bad_start_among_many_breaks_its_goal(start: Start, broken: list[int]):
    goals = judged([START] * 10 + [start], ADDS).goals
    assert [number for number, goal in enumerate(goals) if not goal.met] == broken


def test_slow_adds_miss_their_goals():
    slow = [replace(ADDS[0], ours=(21.0,) * 50), replace(ADDS[1], ours=(27.0,) * 50)]
    assert [goal.met for goal in judged([START], slow).goals[-2:]] == [False, False]
    assert [goal.met for goal in judged([START], [ADDS[0], replace(ADDS[1], ours=(16.0,) * 50)]).goals[-2:]] == [
        True,
        False,
    ]


def test_a_kubelets_starts_have_no_times_and_the_tables_show_them():
    found = judged([START, replace(START, range="kubelet", first=None)], ADDS)
    by_range = {row.range: row for row in found.starts}
    assert (by_range["kubelet"].add_p50_ms, by_range["roomy"].add_p50_ms) == (None, 12.0)
    lines = podstart.text(found).splitlines()
    assert any(line.startswith("kubelet  object first") and " - " in line for line in lines)
    assert report.show("podstart", found.starts, found.goals, lambda: "", "json")
