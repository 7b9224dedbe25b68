"""Gates, parts of a latency, and what is made of trials. The run itself is in tests/kube."""

import os
from collections.abc import Sequence

import pytest

from vallum.lab.bench import gates, kubecrowd, latency, moments
from vallum.lab.bench.kubesite import Answer
from vallum.lab.bench.latency import Series, Trial, judged, parts
from vallum.lab.bench.moments import Moments
from vallum.lab.bench.stats import quantile_interval
from vallum.model.errors import KernelError

TRIAL = Trial(api=6.0, obeyed=8.0, watch=1.0, compile=2.0, apply=4.0, kernel=1.0)


def trials(*obeyed: float) -> tuple[Trial, ...]:
    return tuple(Trial(6.0, one, 1.0, 2.0, 4.0, 1.0) for one in obeyed)


def series(obeyed: Sequence[float], pods: int = 1000) -> Series:
    return Series(pods, "policy", "opens", trials(*obeyed))


def test_the_parts_add_up_to_what_the_packet_waited():
    found = parts(Answer({}, 10.0, 10.006), 10.016, Moments(10.007, 10.008, 10.010, 10.015))
    assert (found.api, found.obeyed) == pytest.approx((6, 10))
    assert (found.watch, found.compile, found.apply, found.kernel) == pytest.approx((1, 3, 5, 1))


def test_an_agent_that_was_faster_than_the_answer_shows_as_a_negative_part():
    found = parts(Answer({}, 10.0, 10.006), 10.005, Moments(10.001, 10.002, 10.003, 10.004))
    assert (found.obeyed, found.watch) == pytest.approx((-1, -5))


def test_a_packet_that_obeys_without_a_reconcile_is_an_error():
    with pytest.raises(KernelError, match="no reconcile"):
        parts(Answer({}, 10.0, 10.006), 10.016, None)


def test_goals_speak_of_the_smallest_crowd_alone():
    fine = [series([5.0] * 990 + [15.0] * 10), series([50.0] * 1000, pods=10_000)]
    assert all(goal.met for goal in judged(fine, 1000).goals)
    assert not any(goal.met for goal in judged(fine[1:], 1000).goals)


@pytest.mark.parametrize(
    ("obeyed", "says"),
    [
        ([9.0] * 1000, ["met", "met"]),
        ([9.0] * 950 + [21.0] * 50, ["met", "not met"]),
        ([9.0] * 990 + [21.0] * 10, ["met", "not shown"]),
        ([9.0] * 500 + [11.0] * 500, ["not shown", "met"]),
    ],
)
def test_a_goal_is_met_when_the_interval_of_its_quantile_is(obeyed: list[float], says: list[str]):
    assert [goal.says for goal in judged([series(obeyed)], 1000).goals] == says


def test_few_trials_bound_a_p99_by_the_slowest():
    found = quantile_interval([*map(float, range(100))], 0.99)
    assert found.high == 99.0
    assert quantile_interval([*map(float, range(2000))], 0.99).high < 1999.0
    middle = quantile_interval([*map(float, range(101))], 0.5)
    assert (middle.value, middle.low < 45, middle.high > 55) == (50.0, True, True)


def test_every_gate_is_shut_at_first_and_opens_by_its_own_change():
    objects = {(each["kind"], each["metadata"]["name"]): each for each in gates.world()}
    policy, pod, space = gates.gates()
    assert policy.shut.body["spec"] == objects["NetworkPolicy", "by-policy"]["spec"] != policy.opened.body["spec"]
    for gate, kind, name in ((pod, "Pod", gates.SENDER), (space, "Namespace", gates.THERE)):
        held = objects[kind, name]["metadata"]["labels"]
        assert gate.shut.body["metadata"]["labels"].items() <= held.items()
        assert not gate.opened.body["metadata"]["labels"].items() <= held.items()
        assert gate.opened.path.endswith(f"/{name}")


def test_a_tenth_of_the_policies_selects_the_pod_that_is_measured():
    requests = kubecrowd.policies(1000, "arena", {"app": "receiver"})
    mine = [each for each in requests if each.body["spec"]["podSelector"] == {"matchLabels": {"app": "receiver"}}]
    assert len(mine) == 100
    assert {each.path for each in mine} == {"/apis/networking.k8s.io/v1/namespaces/arena/networkpolicies"}


def test_a_crowd_grows_without_making_anybody_twice():
    first, then = kubecrowd.pods(30), kubecrowd.pods(20, 30)
    names = [each.body["metadata"]["name"] for each in (*first, *then)]
    assert len(set(names)) == 50
    assert all(each.body["spec"]["nodeName"] == kubecrowd.NODE for each in first)
    addresses = [each.body["status"]["podIP"] for each in kubecrowd.statuses(600)]
    assert len(set(addresses)) == 600


def test_the_table_has_a_line_a_change_and_direction():
    found = judged([series([5.0] * 10), Series(1000, "label of a pod", "shuts", trials(7.0))], 1000)
    lines = latency.text(found).splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["policy", "label of a pod"]


def test_what_a_process_worked_is_told_apart_from_what_it_waited_for():
    ran, waited = latency.scheduled(os.getpid())
    sum(range(200_000))
    assert latency.scheduled(os.getpid())[0] > ran > 0
    assert waited >= 0


def test_moments_come_from_a_status_that_has_them():
    assert moments.read({"moments": {"heard": 1.0, "begun": 2.0, "compiled": 3.0, "applied": 4.0}}) == Moments(
        1, 2, 3, 4
    )
    assert moments.read({"revision": None}) is None
