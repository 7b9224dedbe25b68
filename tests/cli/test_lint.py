"""docs/lint.md is the test: every rule of the table has its entry, finds its example, at its line, and nothing else.

And what the command does around that: levels, ignores, forms of output, exit status.
"""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vallum.analysis.lint.finding import Level
from vallum.analysis.lint.ignores import Placed
from vallum.analysis.lint.table import RULES
from vallum.cli.lint import command, findings
from vallum.sources.places import read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lint.md").read_text()
HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: example, namespace: shop}\n"
SECTIONS = {"Errors": Level.ERROR, "Warnings": Level.WARNING, "Notes": Level.NOTE}


def entries() -> dict[str, tuple[Level, str]]:
    """Rule -> its level by section, and its text."""
    found = {}
    for title, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for rule, text in re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", body, re.MULTILINE | re.DOTALL):
            found[rule] = (SECTIONS[title], text)
    return found


ENTRIES = entries()
BACKGROUND = re.search(r"```yaml background\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]


def examples(rule: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The example that is found and the one that is right: its info string, and the YAML."""
    bad, good = re.findall(r"```yaml ?(\w*)\n(.*?)```", ENTRIES[rule][1], re.DOTALL)
    return bad, good


def lint(folder: Path, info: str, text: str) -> list[Placed]:
    folder.mkdir()
    if info != "world":
        (folder / "background.yaml").write_text(BACKGROUND)
    (folder / "example.yaml").write_text(HEAD * text.startswith("spec:") + text)
    return findings(read(str(folder)))


def matters(rule: str, found: list[Placed]) -> list[Placed]:
    """What is found without the notes, which nearly every example has some of."""
    return [one for one in found if RULES[one.finding.rule].level > Level.NOTE or one.finding.rule == rule]


def test_the_page_has_every_rule_at_its_level_with_its_summary() -> None:
    assert {rule: level for rule, (level, _) in ENTRIES.items()} == {rule: entry.level for rule, entry in RULES.items()}
    for rule, (_, text) in ENTRIES.items():
        said = " ".join(text.split()).casefold()
        assert said.startswith(RULES[rule].summary.casefold()), rule


def test_there_are_more_rules_than_promised() -> None:
    assert len(RULES) >= 34


@pytest.mark.parametrize("rule", RULES)
def test_a_bad_example_gives_its_finding_at_its_line_and_no_other(rule: str, tmp_path: Path) -> None:
    info, text = examples(rule)[0]
    found = matters(rule, lint(tmp_path / "world", info, text))
    assert [one.finding.rule for one in found] == [rule], [f"{one.place}: {one.finding}" for one in found]
    place, lines = found[0].place, (tmp_path / "world" / "example.yaml").read_text().splitlines()
    assert Path(place.file).name == "example.yaml"
    assert "# here" in lines[place.line - 1], place
    assert not lines[place.line - 1][: place.column - 1].strip(" -") or place.column > 1
    assert found[0].finding.text
    assert found[0].finding.cure


@pytest.mark.parametrize("rule", RULES)
def test_a_good_example_gives_nothing(rule: str, tmp_path: Path) -> None:
    info, text = examples(rule)[1]
    assert matters(rule, lint(tmp_path / "world", info, text)) == []


def test_the_shop_of_the_examples_is_clean() -> None:
    assert findings(read(str(ROOT / "examples" / "shop"))) == []


def run(*words: str) -> Result:
    return CliRunner().invoke(command, list(words))


def world(folder: Path, text: str) -> str:
    (folder / "background.yaml").write_text(BACKGROUND)
    (folder / "example.yaml").write_text(HEAD * text.startswith("spec:") + text)
    return str(folder)


TYPO = "spec:\n  podSelector:\n    matchLabels:\n      {app: wbe}\n"


def test_a_finding_is_one_line_with_place_level_cure_and_rule(tmp_path: Path) -> None:
    result = run(world(tmp_path, TYPO))
    expected = "example.yaml:7:8: warning: no pod here has app=wbe; did you mean `web`? [label-value-typo]\n"
    assert result.stdout == f"{tmp_path}/{expected}"
    assert result.exit_code == 1


def test_notes_count_only_when_they_are_asked_for(tmp_path: Path) -> None:
    path = world(tmp_path, "spec: {podSelector: {matchLabels: {app: web}}}\n")
    assert run(path).exit_code == 0
    assert "1 note" not in run(path).stderr
    assert run(path, "--level", "note").exit_code == 1
    assert "[unprotected]" in run(path, "--select", "unprotected").stdout
    assert run(path, "--level", "note", "--ignore", "unprotected").exit_code == 0


def test_an_unknown_rule_is_wrong_usage(tmp_path: Path) -> None:
    result = run(world(tmp_path, TYPO), "--select", "label-key-tpyo")
    assert "did you mean label-key-typo?" in str(result.exception)


@pytest.mark.parametrize(
    "text",
    [
        TYPO.replace("{app: wbe}", "{app: wbe}  # vallum: ignore label-value-typo an old name"),
        TYPO.replace("      {app", "      # vallum: ignore label-value-typo an old name\n      # really\n\n      {app"),
        "# vallum: ignore label-value-typo an old name\n" + HEAD + TYPO,
    ],
)
def test_a_comment_on_the_line_or_above_or_on_top_of_the_document_silences(text: str, tmp_path: Path) -> None:
    assert run(world(tmp_path, text)).stdout == ""


def test_a_comment_on_top_of_another_document_does_not_silence(tmp_path: Path) -> None:
    text = f"# vallum: ignore label-value-typo an old name\n{HEAD}---\n{HEAD.replace('example', 'other')}{TYPO}"
    said = run(world(tmp_path, text)).stdout
    assert "[label-value-typo]" in said
    assert "[unused-ignore]" in said


def test_what_looks_like_a_comment_in_quotes_is_none(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop2, annotations: {a: 'x # vallum: ignore y z'}}\n"
    assert run(world(tmp_path, text)).stdout == ""


def test_every_wrong_manifest_is_a_finding_and_the_rest_is_judged(tmp_path: Path) -> None:
    text = f"{HEAD}spec: {{podSelektor: {{}}, ingres: []}}\n---\n{HEAD.replace('example', 'other')}{TYPO}"
    said = run(world(tmp_path, text)).stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["[invalid]", "[invalid]", "[label-value-typo]"]


def test_json_has_the_facts_of_each_finding(tmp_path: Path) -> None:
    path = world(tmp_path, TYPO)
    assert json.loads(run(path, "-o", "json").stdout) == [
        {
            "rule": "label-value-typo",
            "level": "warning",
            "file": f"{path}/example.yaml",
            "line": 7,
            "column": 8,
            "object": "NetworkPolicy shop/example",
            "path": "spec.podSelector.app",
            "text": "no pod here has app=wbe",
            "suggestion": "did you mean `web`?",
        }
    ]


def test_sarif_names_every_rule_and_each_place(tmp_path: Path) -> None:
    run_ = json.loads(run(world(tmp_path, TYPO), "-o", "sarif").stdout)["runs"][0]
    assert {rule["id"] for rule in run_["tool"]["driver"]["rules"]} == {*RULES}
    location = run_["results"][0]["locations"][0]["physicalLocation"]
    assert location["region"] == {"startLine": 7, "startColumn": 8}


def test_a_live_node_has_objects_for_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = read(world(tmp_path, TYPO)).world
    monkeypatch.setattr("vallum.cli.lint.live_world", lambda _: live)
    said = run("--node").stdout
    expected = "warning: no pod here has app=wbe; did you mean `web`? [label-value-typo]"
    assert said == f"NetworkPolicy shop/example spec.podSelector.app: {expected}\n"
    assert "line" not in json.loads(run("--node", "-o", "json").stdout)[0]


def test_a_folder_and_a_node_at_once_are_wrong_usage(tmp_path: Path) -> None:
    assert "both a folder and a node" in str(run(str(tmp_path), "--node").exception)
    assert "no world is named" in str(run().exception)


def test_objects_of_a_list_and_of_json_have_their_places(tmp_path: Path) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "listed", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "wbe"}}},
    }
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy]}, indent=1)
    (tmp_path / "list.json").write_text(text)
    said = run(world(tmp_path, "spec: {}\n")).stdout
    line = text.splitlines().index('      "app": "wbe"') + 1
    assert said.startswith(f"{tmp_path}/list.json:{line}:7: warning: no pod here has app=wbe")
