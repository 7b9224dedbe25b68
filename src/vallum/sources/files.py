"""The files of a world on disk: which ones count, their bytes, and why they cannot be read.

A folder counts with all folders below it: *.yaml, *.yml and *.json, hidden names left out, symbolic links to
files followed, to folders only where the world's own path is one. The path is resolved once a reading, so that a
link that is replaced meanwhile never gives half of each world. Ignores what stands in the files.
"""

import os
import stat
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from vallum.model.errors import InputError

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class File:
    """One file: where it lies, how messages call it, its name inside of the world, and its bytes or its error."""

    path: str
    shown: str
    name: str
    data: bytes = b""
    error: InputError | None = None


class MissingError(InputError):
    """Nothing is at the path of the world."""


class MovedError(Exception):
    """Something vanished between being listed and being read: read again."""


def read_files(path: str, held: AbstractSet[str], kept: "dict[str, bytes]") -> list[File]:
    """Every file of a world. Raises InputError if there is none, MovedError if it changed underway.

    `held`: files that somebody is writing; their bytes come from `kept`, and without these they wait.
    """
    if path == STDIN:
        return [File(STDIN, "stdin", "stdin", sys.stdin.buffer.read())]
    if not path:
        raise InputError("", "the path of the world is empty; name a folder of manifests, one file, or - for stdin")
    root = os.path.realpath(path)
    try:
        listed = list(_listed(root, path))
    except FileNotFoundError as error:
        if Path(root).exists():
            raise MovedError from error
        raise MissingError(
            path, "no such file or folder; name a folder of manifests, one file, or - for stdin"
        ) from error
    except OSError as error:
        raise InputError(path, _reason(error)) from error
    if not listed:
        raise InputError(path, "holds no manifest; a world needs files named *.yaml, *.yml or *.json")
    return [_read(file, held, kept) for file in listed if file.path not in held or file.path in kept]


def folders(root: str) -> Iterator[str]:
    """The folder and all below it that count. Raises OSError if it cannot be listed."""
    yield root
    for entry in _entries(root):
        if entry.is_dir(follow_symlinks=False):
            yield from folders(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _listed(root: str, shown: str) -> Iterator[File]:
    if not stat.S_ISDIR(Path(root).stat().st_mode):
        yield File(root, shown, Path(shown).name)
        return
    for folder in folders(root):
        inside = os.path.relpath(folder, root)
        for entry in _entries(folder):
            if entry.name.endswith(_SUFFIXES) and not entry.is_dir(follow_symlinks=False):
                name = os.path.normpath(os.path.join(inside, entry.name))  # noqa: PTH118 - text, not a path to touch
                yield File(entry.path, os.path.join(shown, name), name)  # noqa: PTH118


def _read(file: File, held: AbstractSet[str], kept: dict[str, bytes]) -> File:
    if file.path in held:
        return File(file.path, file.shown, file.name, kept[file.path])
    try:
        return File(file.path, file.shown, file.name, _bytes(file))
    except InputError as error:
        return File(file.path, file.shown, file.name, error=error)


def _bytes(file: File) -> bytes:
    """Opened without waiting: a pipe of that name would wait for its writer."""
    try:
        with open(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise InputError(file.shown, "is no ordinary file; manifests are files or a folder of them")
            return opened.read()
    except FileNotFoundError as error:
        if Path(file.path).is_symlink():
            target = Path(file.path).readlink()
            raise InputError(file.shown, f"is a link to {target}, which does not exist") from error
        raise MovedError from error
    except OSError as error:
        raise InputError(file.shown, _reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read by this user; change its mode or owner"
    return f"cannot be read: {error.strerror}"
