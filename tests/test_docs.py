"""The documents say what the code does: lists in them are compared with the code's own, links with the files.

What it cannot see is prose; reviewers do.
"""

import re
from pathlib import Path

import pytest

from vallum.agent.settings import Settings
from vallum.agent.status import Status
from vallum.cli import _COMMANDS
from vallum.dataplane import PLANES
from vallum.network import BACKENDS
from vallum.policy.verdict import Reason
from vallum.sources.kinds import KINDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
STANCES = 24


def page(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, title: str) -> str:
    return re.split(r"^## ", page(name).partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_between_pages_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert not [link for link in links if not (path.parent / link).exists()]


def test_every_stance_has_its_paragraph_in_order() -> None:
    numbers = [int(number) for number in re.findall(r"^\*\*(\d+)\.\*\*", page("docs/semantics.md"), re.MULTILINE)]
    assert numbers == list(range(1, STANCES + 1))


def test_code_refers_to_stances_that_exist() -> None:
    named = {
        int(number)
        for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")]
        for group in re.findall(r"\bstances? ((?:\d+(?:, | and | to )?)+)", path.read_text())
        for number in re.findall(r"\d+", group)
    }
    assert named
    assert named <= set(range(1, STANCES + 1))


def test_the_world_table_names_every_kind_under_its_version() -> None:
    rows = re.findall(r"^\| ([A-Z][\w, ]+) \| ([\w./]*v1) \|", section("docs/formats.md", "A world"), re.MULTILINE)
    documented = {kind: version for kinds, version in rows for kind in kinds.split(", ")}
    assert documented == {kind: version for kind, (version, _) in KINDS.items()}


def test_the_verdict_table_names_every_reason() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (yes|no) \|", section("docs/formats.md", "A verdict"), re.MULTILINE)
    assert {kind for kind, _ in rows} == {str(reason) for reason in Reason}


def test_every_key_of_a_status_is_documented() -> None:
    keys = Status(Settings("n", Path("w"))).facts(0).keys()
    text = section("docs/formats.md", "The agent's socket")
    assert not [key for key in keys if f"`{key}`" not in text]


def test_the_readme_names_every_command_back_end_and_plane() -> None:
    text = page("README.md") + page("ARCHITECTURE.md")
    assert not [name for name in (*_COMMANDS, *PLANES, *BACKENDS) if name not in text]


def test_every_target_of_the_makefile_has_its_line_of_help() -> None:
    text = page("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert targets == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    plain = {"help", "setup", "demo", "test", "mutants", "check", "bench", "clean"}
    assert targets == plain | {"kube", "kube-up", "kube-down", "test-kube"}
