"""The house itself: sizes, charters, names and walls, read from the files and not from what they do.

import-linter checks who imports whom (make check); here stands what it cannot see, among it that its own lists
are complete: a plane, a back end, a pure file or a dependency that no contract names would be free of all of them.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from vallum.dataplane import PLANES
from vallum.network import BACKENDS

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "vallum"
CODE = sorted(HOUSE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILE_LIMIT, FUNCTION_LIMIT = 500, 60
VAGUE_NAMES = ("Manager", "Helper", "Util", "Handler", "Processor")
PURE_LAB = ("lab.topology", "lab.fabric", "lab.housing")
PURE_FILES = {f"vallum.{name}" for name in (*PURE_LAB, "network.aggregate", "cni.config", "cni.result")}
VAGUE_ROOMS = {"core", "common", "util", "utils", "helpers", "managers", "types", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text())
    yield from (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def contracts() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def listed(contract: str, key: str) -> set[str]:
    return set(contracts()[f"importlinter:contract:{contract}"][key].split())


def modules(pattern: str) -> set[str]:
    return {".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in HOUSE.glob(pattern)}


def test_no_file_is_longer_than_the_limit() -> None:
    files = [*CODE, *TESTS, *HOUSE.rglob("*.[ch]"), *ROOT.glob("scripts/*"), ROOT / ".ci" / "run"]
    long = {named(path): lines for path in files if (lines := len(path.read_text().splitlines())) > FILE_LIMIT}
    assert not long


def test_no_function_is_longer_than_the_limit() -> None:
    long = {
        f"{named(path)}:{node.lineno} {node.name}": lines
        for path in (*CODE, *TESTS)
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LIMIT
    }
    assert not long


def test_half_of_all_functions_are_shorter_than_twelve_lines() -> None:
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for path in CODE for node in functions(path))
    assert lengths[len(lengths) // 2] < 12


def test_every_folder_of_code_is_a_package_with_a_charter() -> None:
    folders = {path.parent for path in CODE}
    without = [named(folder) for folder in sorted(folders) if not charter(folder / "__init__.py")]
    assert not without


def test_every_file_says_on_top_why_it_exists() -> None:
    assert not [named(path) for path in (*CODE, *TESTS) if not charter(path)]


def charter(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text())) if path.exists() else None


def test_no_name_is_vague() -> None:
    vague = [
        f"{named(path)}: {node.name}"
        for path in (*CODE, *TESTS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(word in node.name for word in VAGUE_NAMES)
    ]
    vague += [named(path) for path in CODE if VAGUE_ROOMS & {path.stem, path.parent.name}]
    assert not vague


def test_test_names_are_sentences() -> None:
    short = [
        f"{named(path)}: {node.name}"
        for path in TESTS
        for node in functions(path)
        if node.name.startswith("test_") and node.name.count("_") < 3
    ]
    assert not short


def test_no_test_guesses_how_long_something_takes() -> None:
    """Wait on the thing itself, with a deadline. A poll may pause in its loop, traffic may flow for a named while."""
    guesses = [
        f"{named(path)}:{node.lineno}"
        for path in TESTS
        for node in outside_loops(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("time.sleep", "sleep", "asyncio.sleep")
        and isinstance(node.args[0], ast.Constant)
    ]
    assert not guesses


def outside_loops(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.While):
            yield node
            yield from outside_loops(node)


def test_the_floors_are_exhaustive() -> None:
    floors = contracts()["importlinter:contract:floors"]
    assert floors["exhaustive"] == "True"
    rooms = set(re.findall(r"\w+", floors["layers"]))
    assert {path.name for path in HOUSE.iterdir() if (path / "__init__.py").exists()} <= rooms


@pytest.mark.parametrize(("contract", "room"), [("planes", "dataplane"), ("backends", "network")])
def test_every_plane_and_back_end_is_a_stranger_to_the_others(contract: str, room: str) -> None:
    folders = {f"vallum.{room}.{path.parent.name}" for path in (HOUSE / room).glob("*/__init__.py")}
    assert listed(contract, "modules") == folders


def test_every_folder_of_a_plane_or_back_end_is_in_its_table() -> None:
    specs = [spec for stack in PLANES.values() for spec in stack] + list(BACKENDS.values())
    reached = {spec.split(":")[0].rpartition(".")[0] for spec in specs}
    assert reached == listed("planes", "modules") | listed("backends", "modules")


def test_every_render_and_plan_is_under_the_contract_of_the_pure() -> None:
    pure = listed("pure", "source_modules")
    ipam = modules("ipam/*.py") - {f"vallum.ipam.{name}" for name in ("__init__", "ledger", "pools", "ranges")}
    assert modules("dataplane/*/render.py") | modules("network/*/plan.py") | PURE_FILES | ipam <= pure
    assert {"vallum.model", "vallum.policy", "vallum.analysis"} <= pure


def test_every_dependency_says_why_and_where_and_a_contract_holds_it_to_that() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    rules = contracts()
    for requirement in tomllib.loads(text)["project"]["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0]
        comment = re.search(rf'"{re.escape(requirement)}",\s*# (.+)', text)
        assert comment, f"{name} has no comment in pyproject.toml"
        rooms = comment[1].rpartition("; ")[2]
        section = rules[f"importlinter:contract:{name}"]
        assert section["name"].rpartition(": ")[2] == rooms
        allowed = {line.split(" -> ")[0].split(".")[1] for line in section["ignore_imports"].split("\n") if line}
        assert allowed == set(rooms.split(", "))
