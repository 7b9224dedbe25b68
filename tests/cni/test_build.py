"""The plugin is compiled once for each source, shipped where a wheel has it, and what hinders that is said."""

from pathlib import Path

import pytest

from vallum.cni import build
from vallum.model.errors import KernelError


def test_it_is_compiled_once_and_again_when_a_flag_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.shim(tmp_path)
    made = first.stat().st_ino
    assert build.shim(tmp_path) == first
    assert first.stat().st_ino == made
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-DX"))
    assert build.shim(tmp_path) != first
    assert [path.name for path in first.parent.iterdir()] == ["vallum"]


def test_a_shipped_one_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "vallum"
    shipped.write_bytes(b"")
    monkeypatch.setattr(build, "SHIPPED", shipped)
    assert build.shim(tmp_path / "cache") == shipped
    assert not (tmp_path / "cache").exists()


def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"there is no C compiler: apt-get install gcc libc6-dev"):
        build.shim(tmp_path / "cache")


def test_a_compiler_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", ("-fno-such-thing",))
    with pytest.raises(KernelError, match=r"cannot compile shim\.c: .*-fno-such-thing.*apt-get"):
        build.shim(tmp_path)
    assert list(tmp_path.rglob("vallum")) == []
