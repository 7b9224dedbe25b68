"""A cluster in the background and how to find it: one a machine, everything of it that can be seen in /run/vallum-kube.

The lock there is held by the cluster for as long as it lives; what lies there without a holder was left by a crash.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path

from vallum.kernel import sandbox
from vallum.lab.kube import box, cgroups, layout
from vallum.lab.kube.binaries import Binaries
from vallum.lab.kube.cluster import KubeCluster, KubeSettings
from vallum.lab.kube.component import until
from vallum.lab.place import is_locked
from vallum.model.errors import InputError, KernelError

FOLDER = Path("/run/vallum-kube")
KUBECONFIG = FOLDER / "kubeconfig"
LOGS = FOLDER / "logs"
_LOCK, _PID = FOLDER / "lock", FOLDER / "pid"
_GO = b"go"
_ENDING = 20.0
_CHUNK = 1 << 16


def up(settings: KubeSettings, binaries: Binaries) -> None:
    """Start a cluster and return when its nodes are Ready. Raises InputError when one is up, KernelError."""
    if held():
        raise InputError("", f"a cluster is up already (kubeconfig {KUBECONFIG}); end it with `make kube-down`")
    down()
    FOLDER.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as door, contextlib.closing(_Lock()):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            made = box.spawn(lambda: _main(settings, binaries, door, ours, theirs), tie_to_parent=False, keep=(FOLDER,))
            theirs.close()
            _PID.write_text(str(made.pid), encoding="utf-8")
            ours.send(_GO)
            told = b"".join(iter(lambda: ours.recv(_CHUNK), b"")).decode()
    if told != "up":
        made.wait()
        down()
        raise KernelError(told or "the cluster ended while it was starting")


def down() -> None:
    """End the cluster, if one is up, and remove what it or a crash left. Raises KernelError when something stays."""
    pidfd = _pidfd()
    if pidfd is not None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # the kernel ends all inside with their pid 1
        select.select([pidfd], [], [], _ENDING)
        os.close(pidfd)
    remove_groups()
    shutil.rmtree(FOLDER, ignore_errors=True)


def remove_groups() -> None:
    """Remove the control groups of clusters that ended; their last processes may take a moment to go."""
    until(lambda: not cgroups.remove_abandoned(), _ENDING, lambda: f"control groups stay: {cgroups.remove_abandoned()}")


def held() -> bool:
    """Whether a living cluster holds the lock."""
    return is_locked(_LOCK)


def enter() -> None:
    """Take this process into the cluster's sandbox; its children are inside. Raises InputError when none is up."""
    pidfd = _pidfd()
    if pidfd is None:
        raise InputError("", "no cluster is up; start one with `make kube-up`")
    sandbox.enter(pidfd)


class _Lock:
    """Taken here and inherited by the cluster, which keeps it by never closing it."""

    def __init__(self) -> None:
        self._file = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        os.close(self._file)


def _pidfd() -> int | None:
    """The pid 1 of the cluster that is up."""
    if not held():
        return None
    until(_PID.exists, _ENDING, lambda: "a cluster that is starting has not said its process id")
    with suppress(ProcessLookupError):
        return os.pidfd_open(int(_PID.read_text(encoding="utf-8")))
    return None


def _main(
    settings: KubeSettings, binaries: Binaries, door: socket.socket, ours: socket.socket, theirs: socket.socket
) -> int:
    """Inside: bring it up, tell, and then carry the API to the machine's loopback until a signal ends it."""
    ours.close()
    if theirs.recv(len(_GO)) != _GO:  # whoever started us died before anybody could find us
        return 1
    _to_background(FOLDER / "log")
    try:
        cluster = KubeCluster(settings, binaries)
        cluster.up()
    except (InputError, KernelError) as error:
        theirs.send(str(error).encode())
        return 1
    host, port = door.getsockname()
    admin = cluster.authority.issue("outside", "admin", ("system:masters",))
    cluster.authority.kubeconfig(KUBECONFIG, layout.server(host, port), admin)
    theirs.send(b"up")
    theirs.close()
    asyncio.run(_carry(door))
    return 0


def _to_background(log: Path) -> None:
    """Leave the terminal: nobody's Ctrl-C is meant for a cluster that outlives its command."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)


async def _carry(door: socket.socket) -> None:
    """A socket stays where it was made: `door` is outside, the API server inside."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inward, outward = await asyncio.open_connection(str(layout.CONTROL[0]), layout.API_PORT)
            await asyncio.gather(_copy(reader, outward), _copy(inward, writer))

    server = await asyncio.start_server(client, sock=door)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
