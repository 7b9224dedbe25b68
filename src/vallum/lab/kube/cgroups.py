"""Control groups of one cluster, the only thing of it that the end of its sandbox does not take along.

A group `vallum-kube-ID` in every hierarchy, with one group a node below, since two kubelets on one root would remove
each other's pods. A living cluster holds a lock on each of its groups; groups that nobody holds are what a crash left.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vallum.model.errors import InputError, KernelError

PREFIX = "vallum-kube-"
_NEEDED = {"cpu", "cpuset", "memory", "pids"}


class Groups:
    """The groups of a running cluster, held until the process that made them ends. Making raises KernelError."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.name = PREFIX + os.urandom(4).hex()
        try:
            with _turn():
                self._held = [self._make(hierarchy, nodes) for hierarchy in _hierarchies()]
        except OSError as error:
            raise KernelError(f"make control group {error.filename}: {error.strerror}") from error

    def root(self, node: str) -> str:
        """A kubelet's cgroupRoot."""
        return f"/{self.name}/{node}"

    def _make(self, hierarchy: Path, nodes: Sequence[str]) -> int:
        whole = hierarchy / self.name
        for folder in (whole, *(whole / node for node in nodes)):
            _hand_down(folder.parent)
            folder.mkdir()
            for key in ("cpuset.cpus", "cpuset.mems"):  # version 1: born empty, and then takes no process
                if (folder / "tasks").exists() and (folder / key).exists():
                    (folder / key).write_text((folder.parent / key).read_text())
        held = os.open(whole, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_SH)
        return held


def check() -> None:
    """Raises InputError where this machine has not the controllers that a kubelet insists on."""
    hierarchies = _hierarchies()
    missing = _NEEDED - {name for path in hierarchies for name in _controllers(path)}
    if missing:
        raise InputError("cgroups", f"not mounted: {', '.join(sorted(missing))}; a container needs --privileged")
    for path in hierarchies:
        if not os.access(path, os.W_OK):
            raise InputError(str(path), "cannot be written; a container needs --privileged --cgroupns=private")


def remove_abandoned() -> tuple[str, ...]:
    """Remove groups of clusters that ended, by whatever way. The names of those with processes still ending."""
    with _turn():
        wholes = [whole for hierarchy in _hierarchies() for whole in hierarchy.glob(f"{PREFIX}*")]
        return tuple(sorted({whole.name for whole in wholes if not _remove(whole)}))


@contextmanager
def _turn() -> Iterator[None]:
    """One process of the machine at a time: a group is nobody's for the moment between its making and its lock."""
    place = os.open(_hierarchies()[0], os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _remove(whole: Path) -> bool:
    """Reports whether it is gone or a living cluster's."""
    try:
        held = os.open(whole, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for folder in (*_below(whole), whole):
            folder.rmdir()
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _below(folder: Path) -> Iterator[Path]:
    """Deepest first."""
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            yield from _below(child)
            yield child


def _hierarchies() -> list[Path]:
    """Every hierarchy once, wherever it is mounted first."""
    found: dict[int, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        place, kind = Path(line.split()[4]), line.split(" - ")[1].split()[0]
        if kind in {"cgroup", "cgroup2"}:
            found.setdefault(place.stat().st_dev, place)
    return list(found.values())


def _controllers(hierarchy: Path) -> set[str]:
    """Version 2 lists them; of version 1 each has its own hierarchy, mounted under its name."""
    listed = hierarchy / "cgroup.controllers"
    return set(listed.read_text(encoding="utf-8").split() if listed.exists() else hierarchy.name.split(","))


def _hand_down(folder: Path) -> None:
    """Version 2: let groups below have the controllers that a kubelet wants."""
    below = folder / "cgroup.subtree_control"
    if below.exists() and (wanted := _controllers(folder) & _NEEDED - set(below.read_text().split())):
        below.write_text(" ".join(f"+{name}" for name in sorted(wanted)))
