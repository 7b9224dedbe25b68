"""The sandbox is private, hands results and signals on, and its end, of whatever kind, leaves nothing."""

import os
import random
import select
import signal
import socket
import subprocess
from contextlib import ExitStack
from errno import EOPNOTSUPP
from pathlib import Path

import pytest

from inside import become_nobody, eventually, fork, need_sandbox, run_inside
from vallum.kernel import door, netns, sandbox
from vallum.model.errors import KernelError

pytestmark = pytest.mark.packets
TWO_USERS = pytest.mark.parametrize("as_nobody", [False, True], ids=["as ourselves", "as nobody"])


@pytest.fixture(autouse=True)
def _sandbox_to_be_had() -> None:
    need_sandbox()


@TWO_USERS
def test_main_is_root_alone_in_its_pid_namespace(*, as_nobody: bool) -> None:
    def look() -> tuple[int, int, list[str]]:
        return os.getuid(), os.getpid(), sorted(p.name for p in Path("/proc").iterdir() if p.name.isdigit())

    assert run_inside(look, as_nobody=as_nobody) == (0, 2, ["1", "2"])


@TWO_USERS
def test_run_is_fresh_and_ip_netns_works_in_it(*, as_nobody: bool) -> None:
    def look() -> tuple[list[str], str]:
        netns.create("here")
        listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
        inner = subprocess.run(["ip", "netns", "exec", "here", "true"], check=True)
        assert inner.returncode == 0
        return [path.name for path in Path("/run").iterdir()], listed.stdout.strip()

    assert run_inside(look, as_nobody=as_nobody) == (["netns"], "here")


def test_a_folder_under_run_is_kept_where_asked(tmp_path: Path) -> None:
    kept = Path("/run") / f"vallum-test-{os.getpid()}" if os.geteuid() == 0 else tmp_path
    kept.mkdir(exist_ok=True)
    try:
        (kept / "word").write_text("seen")
        with sandbox.spawn(lambda: int((kept / "word").read_text() != "seen"), tie_to_parent=True, keep=(kept,)) as box:
            assert box.wait() == 0
    finally:
        (kept / "word").unlink()
        kept.rmdir()


def test_the_result_of_main_is_the_exit_code() -> None:
    with sandbox.spawn(lambda: 7, tie_to_parent=True) as box:
        assert box.wait() == 7
        assert box.wait() == 7


def test_main_killed_by_a_signal_counts_128_and_the_signal() -> None:
    def die() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    with sandbox.spawn(die, tie_to_parent=True) as box:
        assert box.wait() == 128 + signal.SIGKILL


def test_an_open_socket_leads_from_main_to_the_caller() -> None:
    ours, theirs = socket.socketpair()

    def speak() -> int:
        theirs.sendall(b"from inside")
        return 0

    with ours, theirs, sandbox.spawn(speak, tie_to_parent=True) as box:
        theirs.close()
        assert ours.recv(64) == b"from inside"
        assert ours.recv(64) == b""  # nobody above main holds it open
        box.wait()


def test_sigterm_to_pid_1_reaches_main() -> None:
    read, write = os.pipe()

    def obey() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # kept for sigwait, however soon it comes
        os.write(write, b"!")
        return 40 + (signal.sigwait({signal.SIGTERM}) == signal.SIGTERM)

    with sandbox.spawn(obey, tie_to_parent=True) as box:
        os.read(read, 1)
        os.kill(box.pid, signal.SIGTERM)
        assert box.wait() == 41
    os.close(read)
    os.close(write)


def test_an_orphan_is_reaped_by_pid_1_and_ends_with_main() -> None:
    def orphan() -> int:
        middle = fork(lambda: fork(lambda: None))
        os.waitpid(middle, 0)
        alone = eventually(lambda: sorted(p.name for p in Path("/proc").iterdir() if p.name.isdigit()) == ["1", "2"])
        fork(signal.pause)
        return 0 if alone else 1

    with sandbox.spawn(orphan, tie_to_parent=True) as box:
        space = Path(f"/proc/{box.pid}/ns/pid").stat().st_ino
        assert box.wait() == 0
        assert _in_namespace("pid", space) == []


def test_an_exception_of_main_is_printed_and_exits_1(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ValueError("seen on stderr")

    with sandbox.spawn(fail, tie_to_parent=True) as box:
        assert box.wait() == 1
    assert "seen on stderr" in capfd.readouterr().err


def test_nothing_is_left_open_or_unreaped() -> None:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would keep a descriptor of its own
    for _ in range(3):
        with sandbox.spawn(lambda: 0, tie_to_parent=True) as box:
            box.wait()
        with sandbox.spawn(lambda: signal.pause() or 0, tie_to_parent=True):  # type: ignore[func-returns-value]
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_mounts_of_the_machine_stay_as_they_were() -> None:
    before = Path("/proc/self/mountinfo").read_text()
    run_inside(lambda: netns.create("one"))
    assert Path("/proc/self/mountinfo").read_text() == before


def test_kill_9_of_pid_1_ends_everything() -> None:
    read, write = os.pipe()

    def many() -> int:
        netns.create("one")
        for _ in range(3):
            fork(signal.pause)
        os.write(write, b"!")
        signal.pause()
        return 0

    with ExitStack() as held:
        with sandbox.spawn(many, tie_to_parent=True) as box:
            os.read(read, 1)
            # held open, because the number of a namespace that has ended is the next one's
            spaces = {
                kind: os.fstat(held.enter_context(Path(f"/proc/{box.pid}/ns/{kind}").open("rb")).fileno()).st_ino
                for kind in ("pid", "net", "mnt")
            }
            os.kill(box.pid, signal.SIGKILL)
            assert select.select([box.pidfd], [], [], 5)[0]
            assert box.wait() == 128 + signal.SIGKILL
        assert {kind: _in_namespace(kind, inode) for kind, inode in spaces.items()} == {"pid": [], "net": [], "mnt": []}
    os.close(read)
    os.close(write)


@TWO_USERS
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_of_the_caller_at_a_random_moment_ends_everything(*, as_nobody: bool, seed: int) -> None:
    moment = random.Random(seed).uniform(0, 0.03)

    def call() -> None:
        os.setsid()
        if as_nobody:
            become_nobody()
        with sandbox.spawn(_keep_busy, tie_to_parent=True) as box:
            box.wait()

    before = Path("/proc/self/mountinfo").read_text()
    caller = fork(call)
    pidfd = os.pidfd_open(caller)
    select.select([pidfd], [], [], moment)
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    os.close(pidfd)
    assert eventually(lambda: _in_session(caller) == []), _in_session(caller)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_kill_9_of_the_caller_ends_a_sandbox_in_full_swing() -> None:
    read, write = os.pipe()

    def swing() -> int:
        for _ in range(3):
            fork(signal.pause)
        os.write(write, b"!")
        signal.pause()
        return 0

    def call() -> None:
        os.setsid()
        sandbox.spawn(swing, tie_to_parent=True).wait()

    caller = fork(call)
    os.read(read, 1)
    assert len(_in_session(caller)) == 7  # the caller, the door, pid 1, main, its three
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    assert eventually(lambda: _in_session(caller) == []), _in_session(caller)
    os.close(read)
    os.close(write)


def test_an_untied_sandbox_outlives_its_caller_until_pid_1_is_killed() -> None:
    read, write = os.pipe()

    def call() -> None:
        os.setsid()
        box = sandbox.spawn(lambda: signal.pause() or 0, tie_to_parent=False)  # type: ignore[func-returns-value]
        os.write(write, str(box.pid).encode())

    caller = fork(call)
    first = int(os.read(read, 32))
    os.waitpid(caller, 0)
    assert first in _in_session(caller)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: _in_session(caller) == [])
    os.close(read)
    os.close(write)


@TWO_USERS
def test_a_command_from_outside_enters(*, as_nobody: bool) -> None:
    def visit() -> None:
        if as_nobody:
            become_nobody()
        with sandbox.spawn(lambda: netns.create("met") or signal.pause() or 0, tie_to_parent=True) as box:  # type: ignore[func-returns-value]
            assert os.waitstatus_to_exitcode(os.waitpid(fork(lambda: _visitor(box.pidfd)), 0)[1]) == 0

    assert os.waitpid(fork(visit), 0)[1] == 0


def test_probe_finds_nothing_in_the_way_where_a_sandbox_works() -> None:
    assert sandbox.probe() is None


def test_probe_names_a_kernel_without_veth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_try_veth", lambda: EOPNOTSUPP)
    assert sandbox.probe() == "this kernel makes no veth links; load the module with `sudo modprobe veth`"


def test_probe_tells_of_namespaces_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: tuple[Path, ...]) -> None:
        raise KernelError("mount proc on /proc: Operation not permitted")

    monkeypatch.setattr(door, "_furnish", refuse)
    reason = sandbox.probe()
    assert reason is not None
    assert "mount proc on /proc: Operation not permitted" in reason


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_the_setting_that_forbids_is_named_with_its_cure(
    key: str, value: str, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / key).parent.mkdir(parents=True)
    (tmp_path / key).write_text(f"{value}\n")
    assert f"`sudo sysctl -w {cure}`" in sandbox.explain("unshare: Operation not permitted", tmp_path)


def _keep_busy() -> int:
    for number in range(1000):
        netns.create(f"n{number}")
        fork(signal.pause)
        if number == 5:
            signal.pause()
    return 0


def _visitor(pidfd: int) -> None:
    sandbox.enter(pidfd)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(fork(_look_around), 0)[1]))


def _look_around() -> None:
    assert eventually(lambda: netns.exists("met"))
    assert os.getuid() == 0
    assert sorted(p.name for p in Path("/proc").iterdir() if p.name.isdigit())[:2] == ["1", "2"]
    with netns.entered("met"):
        netns.raise_loopback()


def _in_namespace(kind: str, inode: int) -> list[int]:
    return [pid for pid in _pids() if _inode(pid, kind) == inode]


def _inode(pid: int, kind: str) -> int:
    try:
        return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino
    except OSError:
        return 0


def _in_session(session: int) -> list[int]:
    return [pid for pid in _pids() if _session(pid) == session]


def _session(pid: int) -> int:
    """0 for a zombie too: it is dead, and its reaping is the business of the machine's init."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state == "Z" else int(session)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
