"""The calls of libc that Python 3.11 lacks: unshare, setns, mount, prctl and membarrier.

os.unshare and os.setns came with Python 3.12; the others never did. Errors become KernelError here and
carry the errno, so that nobody else reads `ctypes.get_errno`.
"""

import ctypes
import os

from vallum.model.errors import KernelError

NEWNS, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 0x1000, 0x4000
MS_PRIVATE, MS_SHARED = 1 << 18, 1 << 20
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


class RefusedError(KernelError):
    """A system call failed; `errno` says how."""

    def __init__(self, operation: str, errno: int) -> None:
        super().__init__(f"{operation}: {os.strerror(errno)}")
        self.errno = errno


def unshare(flags: int) -> None:
    """Give the calling thread (pid: its children) namespaces of its own."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Move the calling thread into the namespaces that `fd` (a namespace file or a pidfd) stands for."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, *, kind: str = "none", flags: int = 0, options: str = "") -> None:
    """Attach a file system of type `kind`, or with MS_BIND what stands at `source`."""
    what = f"mount {source} on {target}"
    code = _libc.mount(_fs(source), _fs(target), kind.encode(), flags, options.encode())
    _check(code, what)


def unmount(target: str) -> None:
    """Detach a mount; it goes when nobody uses it any more."""
    _check(_libc.umount2(_fs(target), _MNT_DETACH), f"unmount {target}")


def set_parent_death_signal(number: int) -> None:
    """Ask for this signal at the death of the *thread* that forked us. Changing credentials forgets it."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def set_process_name(name: str) -> None:
    """What `ps` shows as the command, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _libc.prctl(_PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0)


def _fs(path: str) -> bytes:
    return os.fsencode(path)


def _check(code: int, operation: str) -> None:
    if code != 0:
        raise RefusedError(operation, ctypes.get_errno())


def wait_for_packets() -> None:
    """Return when whatever the kernel was doing with a packet is done: an RCU grace period, some milliseconds.

    membarrier(2) with MEMBARRIER_CMD_GLOBAL, which libc has no function for. A kernel without it is not waited for.
    """
    number = {"x86_64": 324, "aarch64": 283}.get(os.uname().machine)
    if number is not None:
        _libc.syscall(number, 1, 0, 0)
