"""Private (user,) mount, network and pid namespaces for one function: no root needed, nothing left behind.

When main ends, or anybody kills one of the processes above it, the kernel kills everything inside, and with
the last process go namespaces and mounts. How the processes live is in `door`; why there may be none, in `probe`.

    caller -- door (outside, waits) -- pid 1 (init, no threads) -- main (pid 2) -- ...
"""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from vallum.kernel import door, libc
from vallum.kernel.netlink import CREATE, EXCL, Netlink, RequestError
from vallum.kernel.rtmessages import NEWLINK, link, veth
from vallum.model.errors import KernelError

_FORBIDDING = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)
"""Settings that take user namespaces away from ordinary users: key, its forbidding value, the cure."""


class Sandbox:
    """A running sandbox, as its caller sees it. Leaving the `with` block kills it."""

    def __init__(self, child: int, pid: int, pidfd: int) -> None:
        self.pid = pid
        """Pid 1 of the sandbox, as numbered outside."""
        self.pidfd = pidfd
        """Readable once pid 1 has ended; closed by `wait`."""
        self._door = child
        self._code: int | None = None

    def wait(self) -> int:
        """Wait until everything inside has ended. Main's exit code, 128 + n if signal n ended it."""
        if self._code is None:
            _, status = os.waitpid(self._door, 0)
            self._code = door.exit_code(status)
            os.close(self.pidfd)
        return self._code

    def kill(self) -> None:
        """End everything inside now, and wait for that."""
        if self._code is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def spawn(main: Callable[[], int], *, tie_to_parent: bool, keep: tuple[Path, ...] = ()) -> Sandbox:
    """Run `main` in a sandbox. It inherits stdio and every open descriptor, and its result is the exit code.

    Args:
        main: called in the sandbox, as root there, with default signal handlers and no other threads.
        tie_to_parent: the death of the calling *thread*, by kill -9 too, ends all of it.
        keep: folders under /run to be seen inside as well; the rest of /run is fresh there.

    Raises:
        KernelError: the namespaces or mounts were refused; `probe` says why in words.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    caller = os.getpid() if tie_to_parent else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, door.HELD_BACK)
    try:
        child = os.fork()
        if child == 0:
            ours.close()
            door.be_door(theirs, caller, keep, lambda: door.be_main(main, mask))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    with ours:
        return _meet(ours, child)


def enter(pidfd: int) -> None:
    """Join the sandbox of this process, for commands from outside; then fork, and the child is inside.

    Must come before any thread exists. The pid namespace counts for children only.
    """
    where = Path.cwd()
    try:
        libc.setns(pidfd, door.PRIVATE | libc.NEWUSER)
    except libc.RefusedError as error:
        if error.errno != errno.EINVAL:  # EINVAL: it shares our user namespace (or we have threads)
            raise
        libc.setns(pidfd, door.PRIVATE)
    try:
        os.chdir(where)
    except OSError:
        os.chdir("/")


def probe() -> str | None:
    """None if a sandbox with links can be had here, otherwise why not and the cure, in one line.

    Found by making a veth in one. What unshare returns decides nothing: Ubuntu hands out user namespaces
    without capabilities, containers hand them out without /proc, and there are kernels without veth.
    """
    try:
        with spawn(_try_veth, tie_to_parent=True) as trial:
            code = trial.wait()
    except KernelError as error:
        return explain(str(error))
    if code == errno.EOPNOTSUPP:
        return "this kernel makes no veth links; load the module with `sudo modprobe veth`"
    return explain(f"make a veth link: {os.strerror(code)}") if code else None


def explain(refusal: str, settings: Path = Path("/proc/sys")) -> str:
    """A refusal with its likely cause among the machine's settings, and the cure."""
    start = f"private namespaces are not to be had here ({refusal}): "
    if os.geteuid() == 0:
        return f"{start}this root lacks capabilities; a container needs --privileged"
    for key, forbidding, cure in _FORBIDDING:
        if _value(settings / key) == forbidding:
            name = key.replace("/", ".")
            return f"{start}{name} is {forbidding}; run `sudo sysctl -w {name}={cure}`, or run this with sudo"
    return f"{start}run this with sudo; a container needs --privileged"


def _meet(ours: socket.socket, child: int) -> Sandbox:
    """Hear of the door and of pid 1, in any order, then let the door go on."""
    pid, ready = 0, False
    while not (pid and ready):
        word, _, text = ours.recv(4096).decode().partition(" ")
        match word:
            case "pid":
                pid = int(text)
            case "ready":
                ready = True
            case _:
                ours.close()
                os.waitpid(child, 0)
                raise KernelError(f"sandbox: {text or 'it ended while it was being made'}")
    # The door has not reaped pid 1 yet, so the number still means the same process.
    sandbox = Sandbox(child, pid, os.pidfd_open(pid))
    with suppress(OSError):
        ours.send(b"go")
    return sandbox


def _try_veth() -> int:
    """Runs inside. The errno of making a veth pair, 0 if it was made."""
    with Netlink() as netlink:
        try:
            netlink.request("make a veth link", NEWLINK, link(info=veth()), CREATE | EXCL)
        except RequestError as error:
            return error.errno
    return 0


def _value(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
