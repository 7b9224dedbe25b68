"""The scenarios of the real cluster without a cluster: what was written by hand is what the judge says.

So a mistake in the data is found here in seconds. `tests/kube/test_scenarios.py` sends the packets.
"""

import re
from pathlib import Path

import pytest

from kube.scenarios.forms import ALL, used
from kube.scenarios.judged import Judged
from kube.scenarios.matrix import Cell, Matrix, everything, shown, written
from kube.scenarios.scenario import Scenario, population, scenarios, services

PAGE = Path(__file__).parents[2] / "docs" / "semantics.md"
NOT_SHOWN = {
    19: "the tracking of a node begins once, before its first pod; a lab can begin anew",
    24: "no socket of a pod makes headers that cannot be read; the lab sends crafted packets",
}
"""Stances that a cluster's scenarios cannot show, each with the reason; cases and marked tests show them."""

each_scenario = pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)


@each_scenario
def test_every_matrix_is_what_the_judge_says(scenario: Scenario):
    for stage in scenario.stages:
        answers = Judged(stage).answers(stage.matrix)
        assert answers == stage.matrix, f"{stage.does}\n{shown(stage.matrix, answers)}"


@each_scenario
def test_every_service_is_judged_as_the_pod_behind_it(scenario: Scenario):
    for stage in scenario.stages:
        answers = Judged(stage).answers(stage.service_matrix)
        assert answers == stage.service_matrix, f"{stage.does}\n{shown(stage.service_matrix, answers)}"


@each_scenario
def test_flows_can_begin_and_lies_cannot_arrive(scenario: Scenario):
    first = scenario.stages[0]
    assert [str(cell) for cell in scenario.flows if not first.matrix[cell]] == []
    assert [lie for lie in scenario.lies if Judged(first).lie(*lie).allow] == []


def test_a_lie_would_be_admitted_were_it_the_truth():
    """Otherwise its silence would prove nothing."""
    told = [(scenario, lie) for scenario in scenarios() for lie in scenario.lies]
    honest = [scenario.stages[0].matrix[Cell(claimed, target, "UDP", 80, 4)] for scenario, (_, claimed, target) in told]
    assert told
    assert all(honest)


def test_there_are_more_than_sixty_and_no_two_are_alike():
    assert len(scenarios()) >= 60
    assert len({scenario.id for scenario in scenarios()}) == len({scenario.title for scenario in scenarios()})
    assert len({scenario.id for scenario in scenarios()}) == len(scenarios())
    states = [repr([stage.state for stage in scenario.stages]) for scenario in scenarios()]
    assert len(set(states)) == len(states)


def test_every_title_is_a_whole_sentence():
    titles = [scenario.title for scenario in scenarios()]
    assert [title for title in titles if len(title.split()) < 4 or not title[0].isupper() or title[-1] == "."] == []


def test_every_stance_has_a_scenario_or_a_reason():
    stances = {int(number) for number in re.findall(r"^\*\*(\d+)\.\*\*", PAGE.read_text(), re.MULTILINE)}
    shown_here = {stance for scenario in scenarios() for stance in scenario.stances}
    assert shown_here | set(NOT_SHOWN) == stances
    assert shown_here & set(NOT_SHOWN) == set()


def test_every_form_of_the_api_and_every_live_change_is_in_some_scenario():
    found = {form for scenario in scenarios() for form in used(scenario)}
    assert sorted(ALL - found) == []
    assert sorted(found - ALL) == []


def test_every_scenario_denies_something_or_says_why():
    for scenario in scenarios():
        answers = {allowed for stage in scenario.stages for allowed in stage.matrix.values()}
        assert answers == {True, False} or scenario.id in ONE_ANSWER, scenario.id


ONE_ANSWER = {"no-policies", "an-empty-rule-admits-all"}
"""They show that nothing is shut without a policy, and that one opens what another shuts."""


def test_every_service_has_one_pod_behind_it():
    for service in services().values():
        space = service.name.partition("/")[0]
        behind = [
            name
            for name, facts in population().live.items()
            if name.startswith(f"{space}/") and service.selector.items() <= facts["labels"].items()
        ]
        assert behind == [service.pod]


# the form in which matrices are written


def small() -> Matrix:
    return everything(("x/a", "x/b", "y/a", "w/h"), ("x/a", "x/b", "y/a", "w/h"))


def denied(text: str) -> set[str]:
    return {str(cell) for cell, allowed in written(text, small(), ("w/h",)).items() if not allowed}


def test_a_later_line_overrides_an_earlier_one():
    lines = "* -> x/a 80/TCP v4 deny\nx/b,w/h -> x/a allow"
    assert denied(lines) == {"x/a -> x/a 80/TCP v4", "y/a -> x/a 80/TCP v4"}


def test_ends_are_named_by_namespace_by_name_and_by_kind():
    assert {line.split()[0] for line in denied("x/* -> x/a ICMP v6 deny")} == {"x/a", "x/b"}
    assert {line.split()[0] for line in denied("*/a -> x/a ICMP v6 deny")} == {"x/a", "y/a"}
    assert {line.split()[0] for line in denied("pods -> x/a ICMP v6 deny")} == {"x/a", "x/b", "y/a"}
    assert {line.split()[0] for line in denied("hosts -> x/a ICMP v6 deny")} == {"w/h"}


def test_what_is_meant_is_a_protocol_a_port_or_a_family():
    assert denied("x/a -> x/b TCP,81/UDP v6 deny") == {
        "x/a -> x/b 80/TCP v6",
        "x/a -> x/b 81/TCP v6",
        "x/a -> x/b 81/UDP v6",
    }
    assert len(denied("x/a -> x/b deny")) == 12


@pytest.mark.parametrize(
    "line", ["x/a -> x/b", "x/a x/b deny", "v/a -> x/b deny", "x/a -> x/b 82/TCP deny", "-> x deny"]
)
def test_a_line_that_says_nothing_is_refused(line: str):
    with pytest.raises(ValueError, match=r"not SOURCES|speaks of no cell"):
        denied(line)


def test_a_grid_shows_what_was_expected_and_marks_what_was_not_so():
    expected = written("x/a -> x/b 80/TCP v4 deny", small(), ())
    seen = expected | {Cell("x/a", "x/b", "TCP", 80, 4): True}
    rows = shown(expected, seen).splitlines()
    assert rows[0].startswith("80/TCP v4")
    assert [row.split() for row in rows[1:3]] == [["x/a", "x/b", "y/a", "w/h"], ["x/a", ".", "X!", ".", "."]]
    assert shown(expected, expected) == ""
