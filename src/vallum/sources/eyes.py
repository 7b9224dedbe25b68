"""Notices that a world on disk changed, whatever way: inotify on its folders and on every step of the way there.

A path may be a symbolic link that is replaced, lie in a folder that is renamed away and comes back, or not exist
yet. On doubt (a folder came, went or moved, the queue ran over) everything is watched anew. Ignores contents.
Files that are open for writing are named in `writing` until they are closed.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncinotify import Event, Inotify, Mask, Watch

from vallum.model.errors import KernelError
from vallum.sources.files import folders

_NAMES = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO
_SELF = Mask.DELETE_SELF | Mask.MOVE_SELF
_CONTENT = _NAMES | _SELF | Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB
_DOUBT = _SELF | Mask.UNMOUNT | Mask.IGNORED
_LINKS = 40
_TRIES = 20


class Eyes:
    """Watches one path. `arm` before reading, `drain` after it, `wait` for the next change."""

    def __init__(self, path: str) -> None:
        self.writing: set[str] = set()
        self._path = os.path.abspath(path)  # noqa: PTH100 - without resolving links, which are watched as such
        self._inotify = _new(path)
        self._watches: dict[int, Watch] = {}
        self._armed = False
        self._changed = False
        self._names: dict[str, set[str]] = {}
        self._content: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inotify.close()

    def arm(self) -> None:
        """Watch what is there now, unless that is watched already. Raises KernelError if the kernel refuses.

        The instance stays and its watches go: closing one takes the kernel up to 20 ms.
        """
        self._changed = False
        for attempt in range(_TRIES):
            if self._armed:
                return
            try:
                self._disarm()
                self._watch_all()
                self._armed = True
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR) or attempt == _TRIES - 1:
                    raise KernelError(_refusal(error, self._path)) from error

    async def wait(self) -> None:
        """Return when something may have changed since `arm`."""
        while self._armed and not self._changed:
            self._take(await self._inotify.get())
            self.drain()

    def drain(self) -> bool:
        """Take all events that are there. Reports whether what was read since `arm` may be half of something."""
        torn = not self._armed
        self._inotify.sync_timeout = 0
        while event := self._inotify.sync_get():
            torn = self._take(event) or torn
        return torn

    def _disarm(self) -> None:
        """A folder that moved keeps its watch under the old name: all of them go, also those that still hold."""
        for watch in self._watches.values():
            with suppress(OSError):  # the kernel took it away with its folder
                self._inotify.rm_watch(watch)
        self._watches = {}
        self.writing.clear()

    def _take(self, event: Event) -> bool:
        """Note one event. Reports whether it has to do with the world."""
        if event.mask & Mask.Q_OVERFLOW:
            self._armed = False
            return True
        watch = event.watch
        if watch is None or self._watches.get(watch.wd) is not watch:
            return False  # of a watch that was taken away: whoever did so reads again
        folder, name = str(watch.path), str(event.name) if event.name else ""
        step = name in self._names.get(folder, ())
        if name and not step and folder not in self._content:
            return False
        if event.mask & _DOUBT or (event.mask & _NAMES and (step or event.mask & Mask.ISDIR)):
            self._armed = False
        else:
            self._written(event.mask, os.path.join(folder, name))  # noqa: PTH118 - a key, spelled as `files` does
        return True

    def _written(self, mask: Mask, path: str) -> None:
        """A file that is being written changed nothing yet: it does when it is closed."""
        if mask & Mask.MODIFY or (mask & Mask.CREATE and _in_the_making(path)):
            self.writing.add(path)
            return
        self._changed = True
        if not mask & Mask.ATTRIB:
            self.writing.discard(path)

    def _watch_all(self) -> None:
        self._names = {}
        steps: set[str] = set()
        root = self._follow(steps)
        folder = root and stat.S_ISDIR(Path(root).stat().st_mode)
        self._content = set(folders(root) if folder else [os.path.dirname(root)]) if root else set()  # noqa: PTH120
        for name in sorted(self._content):
            self._add(name, _CONTENT)
        for name in sorted((steps | self._names.keys()) - self._content):
            with suppress(PermissionError):  # we may pass it and not list it; what lies behind is watched
                self._add(name, _SELF | (_NAMES if name in self._names else Mask(0)))

    def _add(self, folder: str, mask: Mask) -> None:
        watch = self._inotify.add_watch(folder, mask | Mask.ONLYDIR)
        self._watches[watch.wd] = watch

    def _follow(self, steps: set[str]) -> str | None:
        """Go the path step by step, noting folders whose names matter; where it ends, None if it does not exist."""
        here, rest = "/", _parts(self._path)
        for _ in range(_LINKS * 64):
            if not rest:
                return here
            name = rest.pop(0)
            full = os.path.normpath(os.path.join(here, name))  # noqa: PTH118 - lexical, `..` of a resolved folder
            steps.add(here)
            try:
                mode = os.lstat(full).st_mode
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                self._names.setdefault(here, set()).add(name)
                return None
            if stat.S_ISLNK(mode) or not rest:
                self._names.setdefault(here, set()).add(name)
            if stat.S_ISLNK(mode):
                target = str(Path(full).readlink())
                rest = _parts(target) + rest
                here = "/" if target.startswith("/") else here
            else:
                here = full
        return None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _in_the_making(path: str) -> bool:
    """Reports whether a new name is a file in the making: links of both sorts come complete."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _new(path: str) -> Inotify:
    try:
        return Inotify(cache_size=200)
    except OSError as error:
        raise KernelError(_refusal(error, path)) from error


def _refusal(error: OSError, path: str) -> str:
    knob = {errno.EMFILE: "instances", errno.ENOSPC: "watches"}.get(error.errno or 0)
    cure = f"; raise fs.inotify.max_user_{knob} with sysctl" if knob else ""
    return f"inotify cannot watch {path}: {error.strerror}{cure}"
