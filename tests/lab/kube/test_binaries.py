"""The cache of binaries: only a whole build counts, only for what it was made of, and no Go is said with the cure.

The build itself is the business of `make test-kube`, which could not start without; here Go is a script.
"""

from pathlib import Path

import pytest

from vallum.lab.kube import binaries
from vallum.model.errors import InputError

GO = """\
#!/bin/sh
[ "$1" = env ] && echo {version} && exit
echo built >>{log}
{failing}
while [ "$1" != -o ]; do shift; done
for name in {names}; do echo "$name" >"$2$name"; done
"""
COMMANDS = "cnitool server kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet probe"


class FakeGo:
    """A `go` that writes each command's name into a file of its name."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bin" / "go"
        self._path.parent.mkdir()
        self.log = folder / "log"
        self.write()

    def write(self, version: str = "go1.26.1", failing: str = "", names: str = COMMANDS) -> None:
        self._path.write_text(GO.format(version=version, log=self.log, failing=failing, names=names))
        self._path.chmod(0o755)

    @property
    def builds(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return FakeGo(tmp_path)


def test_a_second_build_takes_what_the_first_made(go: FakeGo) -> None:
    first = binaries.build()
    assert (go.builds, binaries.build()) == (2, first)
    assert go.builds == 2
    assert Path(first.path("etcd")).read_text() == "server\n"
    assert first.probe.read_text() == "probe\n"


def test_a_binary_that_changed_is_built_again(go: FakeGo) -> None:
    Path(binaries.build().path("kubelet")).write_text("something else")
    assert Path(binaries.build().path("kubelet")).read_text() == "kubelet\n"
    assert go.builds == 3


def test_another_go_has_its_own_build(go: FakeGo) -> None:
    first = binaries.build()
    go.write(version="go1.27.0")
    assert binaries.build() != first


def test_a_build_that_failed_or_was_cut_off_never_counts(go: FakeGo) -> None:
    go.write(failing='echo "undefined: x" >&2; exit 1')
    with pytest.raises(InputError, match="undefined: x"):
        binaries.build()
    assert [path for path in binaries.cache().iterdir() if path.name.startswith("unfinished-")]
    go.write()
    assert Path(binaries.build().path("kubectl")).exists()
    assert not [path for path in binaries.cache().iterdir() if path.name.startswith("unfinished-")]


def test_without_go_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PLACES", (str(tmp_path),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no Go; install Go 1\.24 or newer from https://go\.dev/dl/"):
        binaries.build()


@pytest.mark.parametrize("version", ["go1.19.8", "go1.23", ""])
def test_a_go_that_is_too_old_is_named_with_the_cure(go: FakeGo, version: str) -> None:
    go.write(version=version)
    with pytest.raises(InputError, match=r"too old; install Go 1\.24"):
        binaries.build()
