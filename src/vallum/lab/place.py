"""Where a lab keeps its lock, pid and socket, so that later commands find it: $XDG_RUNTIME_DIR/vallum/lab/NAME.

The lock is held by the lab itself for as long as it lives; files without a holder are what a crash left.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vallum.model.errors import InputError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one lab."""

    name: str
    folder: Path

    @property
    def socket(self) -> Path:
        """Where the lab answers."""
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        """What the lab said after it went to the background."""
        return self.folder / "log"

    @property
    def ledger(self) -> Path:
        """Where the addresses of its pods are kept, in a lab with a topology."""
        return self.folder / "ledger"

    def pid(self) -> int:
        """The lab's pid 1 as seen from here. Raises InputError when there is no lab."""
        if not self.is_held():
            raise InputError(f"lab {self.name}", f"it is not up; start it with `vallum lab up --name {self.name}`")
        return int((self.folder / "pid").read_text(encoding="utf-8"))

    def is_held(self) -> bool:
        """Reports whether a living lab holds the lock."""
        return is_locked(self.folder / "lock")

    def take(self) -> int:
        """Lock the place and clear what a crash left. Returns the lock's descriptor, which the lab must inherit.

        Raises InputError when a lab of this name is up.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            problem = f"it is up already; `vallum lab down --name {self.name}` ends it, --name gives another"
            raise InputError(f"lab {self.name}", problem) from error
        self._remove(self._files())
        return descriptor

    def clear(self) -> None:
        """Remove the files of a lab that has ended."""
        self._remove((*self._files(), self.folder / "lock"))
        lab, ours, base = list(self.folder.parents)[:3]
        for folder in (self.folder, lab, ours, *([base] if base == _own_base() else [])):
            try:
                folder.rmdir()
            except OSError:  # another lab lives beside it
                return

    def _files(self) -> tuple[Path, ...]:
        sqlite = (self.folder / f"{self.ledger.name}{suffix}" for suffix in ("", "-wal", "-shm"))
        return (self.socket, self.folder / "pid", self.log, *sqlite)

    def _remove(self, files: tuple[Path, ...]) -> None:
        for file in files:
            file.unlink(missing_ok=True)


def place(name: str) -> Place:
    """The place of a lab. Raises InputError for a name that is none."""
    if not _NAME.match(name):
        raise InputError("--name", f"lower-case letters, digits and dashes, at most 32, got {name!r}")
    if os.geteuid() == 0:
        base = Path("/run")
    else:
        stated = os.environ.get("XDG_RUNTIME_DIR")
        base = Path(stated) if stated else _own_base()
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.getuid():
            raise InputError(str(base), "belongs to somebody else; set XDG_RUNTIME_DIR to a folder of yours")
    return Place(name, base / "vallum" / "lab" / name)


def _own_base() -> Path:
    """Where a user without a runtime folder has one: made 0700, used only when it is theirs, removed when empty."""
    return Path(f"/tmp/vallum-{os.getuid()}")  # noqa: S108


def is_locked(lock: Path) -> bool:
    """Reports whether a living process holds this lock file."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
