"""A small world is really served, read in a fresh process and counted; what is made of trials. No time is asserted."""

import json
from dataclasses import replace

import pytest

from vallum.lab.bench import report, source
from vallum.lab.bench.apipods import nodes, pods, spaces
from vallum.lab.bench.source import PAGES, PODS_SERVED, QUICK_PODS, STREAM, Trial, judged, row, text
from vallum.model.objects import Pod
from vallum.sources.kube.access import Access
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.kinds import NAMESPACES, NODES, PODS, Door

TRIAL = Trial(PODS_SERVED, 1.5, 1.2, 55 << 20)


def test_a_world_is_served_and_read_both_ways_in_a_process_of_its_own():
    with source.served(120, unique=True) as url:
        found = [source.apart(Access((url,)), way, 1)[0] for way in (PAGES, STREAM)]
    assert [each.pods for each in found] == [120, 120]
    assert all(each.seconds > 0 and each.cpu > 0 for each in found)


@pytest.mark.parametrize("unique", [False, True])
def test_pods_are_of_the_size_and_the_kind_that_real_ones_are(unique: bool):
    found = list(pods(40, unique=unique))
    assert all(3000 < len(data) < 4500 for _, data in found)
    read = [Door(PODS, Interned(), "").one(data) for _, data in found]
    assert not [each for each in read if each.problems]
    things = [each.thing for each in read if isinstance(each.thing, Pod)]
    assert len({thing.id for thing in things}) == len({thing.addresses for thing in things}) == 40
    assert len({thing.labels for thing in things}) == (40 if unique else 4)
    assert {thing.owner for thing in things} == {f"Deployment/app-{number}" for number in range(4)}


def test_nodes_and_namespaces_are_read_without_a_complaint():
    for kind, served in ((NODES, nodes(1000)), (NAMESPACES, spaces())):
        assert not [each for _, data in served if (each := Door(kind, Interned(), "").one(data)).problems]


def test_goals_are_of_pages_with_shared_labels_and_hold_for_the_slowest_trial():
    rows = [row("fake", labels, way, [TRIAL] * 3) for labels in ("10 share", "unique") for way in (PAGES, STREAM)]
    goals = judged(rows).goals
    assert [(goal.limit, goal.met) for goal in goals] == [(2.0, True), (60.0, True)]
    slow = judged([row("fake", "10 share", PAGES, [TRIAL, TRIAL, replace(TRIAL, seconds=2.1, held=61 << 20)])]).goals
    assert [goal.says for goal in slow] == ["not shown", "not shown"]
    small = judged([row("fake", "10 share", PAGES, [replace(TRIAL, pods=QUICK_PODS)])]).goals
    assert [goal.limit for goal in small] == [0.4, 12.0]
    assert not judged([row("https://api", "10 share", PAGES, [TRIAL])]).goals, "a real API has its own pace"


def test_the_record_has_the_form_of_every_bench():
    found = judged([row("fake", "10 share", PAGES, [TRIAL])])
    record = json.loads(report.show("source", found.rows, found.goals, lambda: text(found), "json"))
    assert list(record) == ["bench", "commit", "kernel", "cores", "rows", "goals"]
    assert record["rows"][0]["bytes_pod"] == pytest.approx(576.7168)
    assert "pages of 500" in text(found)
