"""Notices that a world on disk changed, whatever way: inotify on its folders and on every step of the way there.

A path may be a symbolic link that is replaced, lie in a folder that is renamed away and comes back, or not exist
yet. On doubt (a folder came, went or moved, the queue ran over) everything is watched anew. Ignores contents.
Files that are open for writing are named in `writing` until they are closed.
"""

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncinotify import Event, Inotify, Mask

from vallum.model.errors import KernelError
from vallum.sources.files import folders

_NAMES = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO
_SELF = Mask.DELETE_SELF | Mask.MOVE_SELF
_CONTENT = _NAMES | _SELF | Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB
_DOUBT = _SELF | Mask.Q_OVERFLOW | Mask.UNMOUNT | Mask.IGNORED
_LINKS = 40
_TRIES = 20


class Eyes:
    """Watches one path. `arm` before reading, `drain` after it, `wait` for the next change."""

    def __init__(self, path: str) -> None:
        self.writing: set[str] = set()
        self._path = os.path.abspath(path)  # noqa: PTH100 - without resolving links, which are watched as such
        self._inotify: Inotify | None = None
        self._changed = False
        self._names: dict[str, set[str]] = {}
        self._content: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def arm(self) -> None:
        """Watch what is there now, unless that is watched already. Raises KernelError if the kernel refuses."""
        self._changed = False
        if self._inotify:
            return
        for attempt in range(_TRIES):
            try:
                self._inotify = Inotify(cache_size=200)
                self._watch_all(self._inotify)
            except OSError as error:
                self._close()
                if error.errno not in (errno.ENOENT, errno.ENOTDIR) or attempt == _TRIES - 1:
                    raise KernelError(_refusal(error, self._path)) from error
            else:
                return

    async def wait(self) -> None:
        """Return when something may have changed since `arm`."""
        while self._inotify and not self._changed:
            self._take(await self._inotify.get())
            self.drain()

    def drain(self) -> bool:
        """Take all events that are there. Reports whether what was read since `arm` may be half of something."""
        torn = False
        while self._inotify:
            self._inotify.sync_timeout = 0
            event = self._inotify.sync_get()
            if event is None:
                return torn
            torn = self._take(event) or torn
        return True

    def _take(self, event: Event) -> bool:
        """Note one event. Reports whether it has to do with the world."""
        folder = str(event.watch.path) if event.watch else ""
        name = str(event.name) if event.name else ""
        step = name in self._names.get(folder, ())
        if name and not step and folder not in self._content:
            return False
        if event.mask & _DOUBT or (event.mask & _NAMES and (step or event.mask & Mask.ISDIR)):
            self._close()
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

    def _watch_all(self, inotify: Inotify) -> None:
        self._names = {}
        steps: set[str] = set()
        root = self._follow(steps)
        folder = root and stat.S_ISDIR(Path(root).stat().st_mode)
        self._content = set(folders(root) if folder else [os.path.dirname(root)]) if root else set()  # noqa: PTH120
        for name in sorted(self._content):
            inotify.add_watch(name, _CONTENT | Mask.ONLYDIR)
        for name in sorted((steps | self._names.keys()) - self._content):
            _add_if_allowed(inotify, name, _SELF | (_NAMES if name in self._names else Mask(0)))

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

    def _close(self) -> None:
        """The next `arm` begins anew; what was being written is not known any more."""
        if self._inotify:
            self._inotify.close()
        self._inotify = None
        self.writing.clear()


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _in_the_making(path: str) -> bool:
    """Reports whether a new name is a file in the making: links of both sorts come complete."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _add_if_allowed(inotify: Inotify, folder: str, mask: Mask) -> None:
    """A folder on the way that we may pass and not list cannot be watched; what lies behind it is."""
    try:
        inotify.add_watch(folder, mask | Mask.ONLYDIR)
    except PermissionError:
        return


def _refusal(error: OSError, path: str) -> str:
    knob = {errno.EMFILE: "instances", errno.ENOSPC: "watches"}.get(error.errno or 0)
    cure = f"; raise fs.inotify.max_user_{knob} with sysctl" if knob else ""
    return f"inotify cannot watch {path}: {error.strerror}{cure}"
