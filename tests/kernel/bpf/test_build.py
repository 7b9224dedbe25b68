"""Programs are compiled once for each source, shipped where a wheel has them, and what hinders that is said."""

import shutil
from pathlib import Path

import pytest

from vallum.kernel.bpf import build
from vallum.model.errors import KernelError

SOURCE = "int twice(int number) { return 2 * number; }\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of sources of its own, with one in it."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "twice.bpf.c").write_text(SOURCE)
    monkeypatch.setattr(build, "FOLDER", folder)


def test_a_program_is_compiled_once_and_again_when_its_source_changes(tmp_path: Path) -> None:
    if shutil.which(build.COMPILER) is None:
        pytest.skip(f"there is no {build.COMPILER}: {build.CURE}")
    first = build.compiled("twice", tmp_path)
    made = first.stat().st_ino
    assert build.compiled("twice", tmp_path) == first
    assert first.stat().st_ino == made
    (build.FOLDER / "twice.bpf.c").write_text(SOURCE.replace("2", "3"))
    assert build.compiled("twice", tmp_path) != first
    assert first.read_bytes().startswith(b"\x7fELF")
    assert [path.name for path in first.parent.iterdir()] == ["twice.bpf.o"]


def test_a_shipped_object_is_taken_as_it_is(tmp_path: Path) -> None:
    shipped = build.FOLDER / "twice.bpf.o"
    shipped.write_bytes(b"")
    assert build.compiled("twice", tmp_path / "cache") == shipped
    assert not (tmp_path / "cache").exists()


def test_without_a_compiler_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"there is no clang: apt-get install clang libbpf-dev"):
        build.compiled("twice", tmp_path / "cache")


def test_a_mistake_in_a_source_is_quoted_and_nothing_is_kept(tmp_path: Path) -> None:
    if shutil.which(build.COMPILER) is None:
        pytest.skip(f"there is no {build.COMPILER}: {build.CURE}")
    (build.FOLDER / "twice.bpf.c").write_text("int twice(;\n")
    with pytest.raises(KernelError, match=r"cannot compile twice\.bpf\.c: .*expected.*apt-get"):
        build.compiled("twice", tmp_path / "cache")
    assert not list(tmp_path.rglob("*.o"))
