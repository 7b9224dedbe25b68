"""Every stance of docs/semantics.md has a case: a file of tests/cases that names it, or a test marked with its number.

Read from the files, so a test that is skipped or not collected still counts, and one that is deleted is missed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from casefile import OLD_FORMS, cases

ROOT = Path(__file__).parents[2]
STANCES = [
    int(number) for number in re.findall(r"^\*\*(\d+)\.\*\*", (ROOT / "docs/semantics.md").read_text(), re.MULTILINE)
]


def marks(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each `@pytest.mark.stance(...)` of a test, by the test's name and the numbers in it."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.stance":
                    yield from ((node.name, ast.literal_eval(number)) for number in mark.args)


def marked() -> dict[int, set[str]]:
    """The tests that show each stance."""
    found: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, number in marks(ast.parse(path.read_text())):
            found.setdefault(number, set()).add(name)
    return found


def test_the_page_numbers_its_stances_without_a_gap():
    assert list(range(1, len(STANCES) + 1)) == STANCES


def test_every_stance_has_a_case_file_or_a_marked_test():
    shown = {stance for case in cases() for stance in case.stances} | set(marked())
    assert [stance for stance in (*STANCES, OLD_FORMS) if stance not in shown] == []


def test_what_files_and_marks_name_are_stances_of_the_page():
    named = {(case.name, stance) for case in cases() for stance in case.stances}
    named |= {(name, number) for number, names in marked().items() for name in names}
    assert [entry for entry in sorted(named, key=str) if entry[1] not in (*STANCES, OLD_FORMS)] == []


def test_a_mark_is_found_where_it_stands_and_only_there():
    text = "@pytest.mark.stance(3, 4)\n@pytest.mark.packets\ndef test_a(): ...\n\ndef test_b(): ...\n"
    assert list(marks(ast.parse(text))) == [("test_a", 3), ("test_a", 4)]


def test_stances_that_a_still_world_can_show_are_shown_by_one():
    """What depends on time, hosts or the kernel alone is shown by marked tests."""
    still = {*range(1, 16), 18, 21, 23} - {5}  # 5: DNAT needs a Service's rules in a kernel
    assert [stance for stance in sorted(still) if not any(stance in case.stances for case in cases())] == []
