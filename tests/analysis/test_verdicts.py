"""The lines that `vallum judge` answers, and the words of `explain`."""

import pytest

from build import NODE1, block, pod, policy, port, rule, select, space
from vallum.analysis.asked import Asked
from vallum.analysis.explain import explain
from vallum.analysis.probe import parse
from vallum.analysis.verdicts import Verdicts
from vallum.model.errors import InputError
from vallum.model.snapshot import snapshot_of

WORLD = snapshot_of(
    (
        NODE1,
        space("a"),
        pod("a/web", "10.44.1.1", app="web"),
        pod("a/db", "10.44.1.2", app="db"),
        pod("a/done", "10.44.1.3", finished=True),
        policy("a/guard", select(app="db"), [rule(block("203.0.113.0/24"), ports=[port(5432)])]),
    )
)


def test_one_answer_a_line_in_their_order_with_id_and_extra_keys():
    lines = [
        {"id": 1, "from": "a/web", "to": "a/db", "port": 5432, "note": "mine"},
        {"id": 2, "from": "203.0.113.9", "to": "a/db", "port": 5432},
    ]
    first, second = Verdicts(WORLD).answers(lines)
    assert (first["id"], first["note"], first["verdict"]) == (1, "mine", "deny")
    assert (second["id"], second["verdict"], second["ingress"]["why"]["policy"]) == (2, "allow", "a/guard")
    assert first["egress"]["why"]["kind"] == "not-isolated"


@pytest.mark.parametrize(
    "line",
    [
        {"id": 7, "from": "a/nobody", "to": "a/db", "port": 1},
        {"id": 7, "from": "a/web", "to": "a/done", "port": 1},
        {"id": 7, "from": "a/web", "to": "a/db"},
    ],
    ids=["unknown", "finished", "no port"],
)
def test_a_probe_that_cannot_be_answered_gets_an_error_and_the_others_are_still_answered(line: dict[str, object]):
    fine = {"id": 8, "from": "a/web", "to": "a/web", "port": 1}
    answers = list(Verdicts(WORLD).answers([line, fine]))
    assert set(answers[0]) == {"id", "error"}
    assert answers[0]["id"] == 7
    assert answers[1]["verdict"] == "allow"


def test_a_line_that_could_not_be_read_is_answered_with_its_error():
    (answer,) = Verdicts(WORLD).answers([InputError("line 3", "is no JSON")])
    assert answer == {"error": "line 3: is no JSON"}


def test_an_icmp_error_passes_with_the_flow_it_belongs_to_only():
    error = {"from": "203.0.113.9", "to": "a/db", "protocol": "ICMP", "type": 3}
    lines = [
        {"id": "allowed", "from": "203.0.113.9", "to": "a/db", "port": 5432},
        {"id": "denied", "from": "203.0.113.9", "to": "a/db", "port": 80},
        error | {"of": "allowed"},
        error | {"of": "denied"},
        error | {"of": "never asked"},
        error,
    ]
    answers = [answer["verdict"] for answer in Verdicts(WORLD).answers(lines)]
    assert answers == ["allow", "deny", "allow", "deny", "deny", "deny"]


def test_explain_tells_verdict_both_sides_and_the_nearest_rule():
    found = explain(Asked(WORLD), parse({"from": "a/web", "to": "a/db", "port": 5432}))
    assert found.lines[0] == "DENIED  a/web -> a/db 5432/TCP"
    assert any("egress" in line and "allow" in line for line in found.lines)
    assert any("a/guard isolates a/db" in line for line in found.lines)
    assert found.lines[-1] == "  it would pass with: address inside 203.0.113.0/24 (10.44.1.1 is not)"


def test_explain_of_an_allowed_probe_names_the_rule():
    found = explain(Asked(WORLD), parse({"from": "203.0.113.9", "to": "a/db", "port": 5432}))
    assert found.lines[0].startswith("ALLOWED")
    assert any("a/guard ingress[0] allows it" in line for line in found.lines)
    assert found.facts()["verdict"] == "allow"
