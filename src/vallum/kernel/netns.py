"""Named network namespaces, the same ones that `ip netns` shows: a file under /run/netns a namespace.

No program is started and no thread is made: the calling thread steps into the namespace and back, which takes
well under a millisecond. A socket belongs for good to the namespace in which it was created.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL
from pathlib import Path

from vallum.kernel import libc
from vallum.model.errors import KernelError

FOLDER = Path("/run/netns")
_HERE = "/proc/thread-self/ns/net"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def create(name: str, *, loopback: bool = True) -> None:
    """Make a namespace of this name. `loopback`: with `lo` up. Raises KernelError, also if it exists."""
    share_folder()
    path = _path(name)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except OSError as error:
        raise KernelError(f"create network namespace {name}: {error.strerror}") from error
    try:
        with _away_from_home():
            libc.unshare(libc.NEWNET)
            libc.mount(_HERE, str(path), flags=libc.MS_BIND)
            if loopback:
                raise_loopback()
    except BaseException:
        with suppress(KernelError):
            libc.unmount(str(path))
        path.unlink()
        raise


def delete(name: str) -> None:
    """Take the name away; the namespace ends with its last process and socket. Raises KernelError."""
    try:
        libc.unmount(str(_path(name)))
    except libc.RefusedError as error:
        if error.errno != EINVAL:  # a file that a crash left without its mount
            raise
    _path(name).unlink()


def exists(name: str) -> bool:
    """Reports whether a namespace has this name; a file that is not, or not yet, mounted is none."""
    try:
        return _path(name).stat().st_dev != FOLDER.stat().st_dev
    except FileNotFoundError:
        return False


def names() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(path.name for path in FOLDER.iterdir())) if FOLDER.is_dir() else ()


def open_namespace(name: str) -> int:
    """A file descriptor that stands for the namespace; the caller closes it. Raises KernelError."""
    try:
        return os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"network namespace {name}: {error.strerror}") from error


@contextmanager
def entered(where: str | int) -> Iterator[None]:
    """The calling thread is inside the namespace (name, or descriptor of one) until the block ends.

    Threads and processes started in the block are there for good. Never await inside it.
    """
    fd = open_namespace(where) if isinstance(where, str) else where
    try:
        with _away_from_home():
            libc.setns(fd, libc.NEWNET)
            yield
    finally:
        if isinstance(where, str):
            os.close(fd)


def raise_loopback() -> None:
    """Set `lo` up where the calling thread is. An ioctl, so that nobody pays for rtnetlink here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def share_folder() -> None:
    """Make FOLDER a shared mount, as `ip netns add` does, so that names reach copies of this mount namespace."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        libc.mount("", str(FOLDER), flags=libc.MS_SHARED | libc.MS_REC)
    except libc.RefusedError as error:
        if error.errno != EINVAL:  # EINVAL: not a mount point yet
            raise
        libc.mount(str(FOLDER), str(FOLDER), flags=libc.MS_BIND | libc.MS_REC)
        libc.mount("", str(FOLDER), flags=libc.MS_SHARED | libc.MS_REC)


@contextmanager
def _away_from_home() -> Iterator[None]:
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        libc.setns(home, libc.NEWNET)
        os.close(home)


def _path(name: str) -> Path:
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f"not a name for a namespace: {name!r}")
    return FOLDER / name
