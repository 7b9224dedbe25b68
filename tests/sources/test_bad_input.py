"""Every wrong input of tests/cases/bad, and those that are no file's content, give their exact lines.

Beside `NAME.yaml`, `NAME.json` or the folder `NAME` stands `NAME.expected`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum.model.errors import InputErrors
from vallum.sources.folder import read_world

BAD = Path(__file__).parent.parent / "cases" / "bad"
CASES = sorted(path for path in BAD.iterdir() if path.suffix != ".expected")


def missing(folder: Path) -> str:
    return str(folder / "nowhere")


def empty(folder: Path) -> str:
    return str(folder)


def nothing(_: Path) -> str:
    return ""


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.yaml")
    return str(folder)


def dangling(folder: Path) -> str:
    (folder / "link.yaml").symlink_to("nowhere.yaml")
    return str(folder)


def loop(folder: Path) -> str:
    (folder / "loop").symlink_to("loop")
    return str(folder / "loop")


def device(_: Path) -> str:
    return "/dev/null"


MADE: dict[Callable[[Path], str], str] = {
    missing: "{path}: no such file or folder; name a folder of manifests, one file, or - for stdin",
    empty: "{path}: holds no manifest; a world needs files named *.yaml, *.yml or *.json",
    nothing: "the path of the world is empty; name a folder of manifests, one file, or - for stdin",
    pipe: "{path}/pipe.yaml: is no ordinary file; manifests are files or a folder of them",
    dangling: "{path}/link.yaml: is a link to nowhere.yaml, which does not exist",
    loop: "{path}: cannot be read: Too many levels of symbolic links",
    device: "{path}: is no ordinary file; manifests are files or a folder of them",
}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_a_bad_file_gives_its_expected_lines(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(InputErrors) as raised:
        read_world(case.name)
    assert f"{raised.value}\n" == (BAD / f"{case.stem}.expected").read_text()


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_a_bad_path_gives_its_expected_line(make: Callable[[Path], str], tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(InputErrors) as raised:
        read_world(path)
    assert str(raised.value) == MADE[make].format(path=path)


def test_there_are_many_bad_files_and_no_two_alike() -> None:
    assert len(CASES) >= 40
    firsts = [(BAD / f"{case.stem}.expected").read_text().splitlines()[0] for case in CASES]
    bare = [re.sub(r"[\w./-]+\.(yaml|json):\d+:\d+", "FILE", line) for line in firsts]
    assert len(set(bare)) == len(bare)
    assert {path.stem for path in BAD.glob("*.expected")} == {case.stem for case in CASES}


def test_every_expected_line_names_file_line_and_column() -> None:
    for expected in BAD.glob("*.expected"):
        for line in expected.read_text().splitlines():
            assert re.match(r"[\w./-]+\.(yaml|json):\d+:\d+: .", line), line
