"""The processes of a sandbox: the door outside, pid 1 inside, and main, each from its fork to its end.

The door unshares and maps its user to root inside, then forks pid 1, because a process never enters a new pid
namespace itself. Pid 1 furnishes the mounts, forks main, reaps orphans and hands signals on. Death runs down
the chain: the door dies with its caller if so asked, pid 1 with the door, everything inside with pid 1.
"""

import errno
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from vallum.kernel import libc, netns

PRIVATE = libc.NEWNS | libc.NEWNET | libc.NEWPID
HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
"""Blocked from before the first fork until main runs: a handler of the caller's must not run in its forks."""

_HANDED_ON = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_RUN = Path("/run")


def be_door(
    theirs: socket.socket, caller: int | None, keep: tuple[Path, ...], main: Callable[[], NoReturn]
) -> NoReturn:
    """The first fork: unshare, fork pid 1, tell of it, wait. `caller`: the pid whose death ends us too."""
    gc.disable()  # descriptors are closed under their objects below; no finaliser may meet a reused number
    try:
        libc.set_process_name("vallum-door")
        _unshare()
        if caller is not None:
            _die_with(caller)
        alive, mine = os.pipe()
        first = os.fork()
        if first == 0:
            os.close(mine)
            _be_init(theirs, alive, keep, main)
        theirs.send(f"pid {first}".encode())
        theirs.recv(16)
        _let_go()
        _, status = os.waitpid(first, 0)
        os._exit(exit_code(status))
    except BaseException as error:  # noqa: BLE001 - a fork must not return into its caller's code
        _fail(theirs, error)


def exit_code(status: int) -> int:
    """The exit code for a wait status, as shells count: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _be_init(theirs: socket.socket, alive: int, keep: tuple[Path, ...], main: Callable[[], NoReturn]) -> NoReturn:
    try:
        libc.set_parent_death_signal(signal.SIGKILL)
        if _closed(alive):  # the door died before that call; getppid says 0 in here
            os._exit(1)
        os.close(alive)
        libc.set_process_name("vallum-init")
        _furnish(keep)
        theirs.send(b"ready")
        theirs.close()
        child = os.fork()
        if child == 0:
            main()
        # Out of the terminal's group: main gets Ctrl-C from the terminal itself, and only once.
        os.setpgid(0, 0)
        _let_go()
        _tend(child)
    except BaseException as error:  # noqa: BLE001
        _fail(theirs, error)


def be_main(main: Callable[[], int], mask: set[int | signal.Signals]) -> NoReturn:
    """Pid 2: the caller's function with signals as a fresh process has them. `mask`: the caller's own."""
    code = 1
    try:
        gc.enable()
        libc.set_process_name("vallum")
        signal.set_wakeup_fd(-1)
        for number in (*HELD_BACK, signal.SIGQUIT):
            if callable(signal.getsignal(number)):  # what is ignored (nohup) stays ignored
                signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = main()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def _tend(main: int) -> NoReturn:
    """Pid 1's whole life: reap every orphan, hand signals on, end with main."""
    while True:
        number = signal.sigwait(HELD_BACK)
        if number in _HANDED_ON:
            with suppress(ProcessLookupError):
                os.kill(main, number)
        while True:
            # WNOHANG: signals of one kind are merged, so one may stand for many children.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == main:
                os._exit(exit_code(status))
            if pid == 0:
                break


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            libc.unshare(PRIVATE)
        except libc.RefusedError as error:
            if error.errno != errno.EPERM:  # EPERM: root without capabilities, as in a container
                raise
        else:
            return
    libc.unshare(PRIVATE | libc.NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")  # demanded before gid_map by user_namespaces(7)
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))


def _die_with(parent: int) -> None:
    libc.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:  # it died before that call
        os._exit(1)


def _furnish(keep: tuple[Path, ...]) -> None:
    """Mounts of our own: /proc shows this pid namespace, /run is empty but for what is kept."""
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    strict = libc.MS_NOSUID | libc.MS_NODEV
    libc.mount("proc", "/proc", kind="proc", flags=strict | libc.MS_NOEXEC)
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in keep}
    libc.mount("tmpfs", str(_RUN), kind="tmpfs", flags=strict, options="mode=755")
    for path, fd in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        libc.mount(f"/proc/self/fd/{fd}", str(path), flags=libc.MS_BIND)
        os.close(fd)
    netns.share_folder()
    netns.raise_loopback()


def _let_go() -> None:
    """Keep nothing of the caller's open: whoever reads its pipes waits for main alone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _fail(theirs: socket.socket, error: BaseException) -> NoReturn:
    with suppress(OSError):
        theirs.send(f"error {error}".encode()[:4000])
    os._exit(1)
