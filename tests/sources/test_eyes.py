"""The watch notices what it must, also when the kernel lost events or refuses to give any."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
from asyncinotify import Event, Mask

from vallum.model.errors import KernelError
from vallum.sources import eyes
from vallum.sources.eyes import Eyes


def test_nothing_happened_unless_something_did(tmp_path: Path) -> None:
    with Eyes(str(tmp_path)) as watching:
        watching.arm()
        assert not watching.drain()
        (tmp_path / "a.yaml").write_text("")
        assert watching.drain()
        assert watching.writing == set()


def test_a_file_is_being_written_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with Eyes(str(tmp_path)) as watching:
        watching.arm()
        with path.open("w") as file:
            assert watching.drain()
            assert watching.writing == {str(path)}
            file.write("x")
        assert watching.drain()
        assert watching.writing == set()


def test_lost_events_mean_that_anything_may_have_changed(tmp_path: Path) -> None:
    with Eyes(str(tmp_path)) as watching:
        watching.arm()
        watching._take(Event(watch=None, mask=Mask.Q_OVERFLOW, cookie=0, name=None))
        asyncio.run(asyncio.wait_for(watching.wait(), 5))
        assert watching.drain()
        watching.arm()
        assert not watching.drain()
        (tmp_path / "a.yaml").write_text("")
        assert watching.drain()


def test_names_beside_the_path_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    with Eyes(str(tmp_path / "world")) as watching:
        watching.arm()
        (tmp_path / "other").mkdir()
        (tmp_path / "file.yaml").write_text("")
        assert not watching.drain()


def test_links_that_go_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with Eyes(str(tmp_path / "a")) as watching:
        watching.arm()
        (tmp_path / "b").unlink()
        assert watching.drain()


@pytest.mark.parametrize(("code", "knob"), [(errno.EMFILE, "instances"), (errno.ENOSPC, "watches")])
def test_the_limits_of_inotify_are_named_with_their_cure(
    code: int, knob: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(eyes, "Inotify", refuse)
    with pytest.raises(KernelError, match=f"raise fs.inotify.max_user_{knob} with sysctl"):
        Eyes(str(tmp_path))
