"""`vallum demo` leaves nothing behind: not after its end, not after Ctrl-C, not after kill -9 at any moment.

Compared before and after, as this user sees the machine: links, named network namespaces, the ruleset, mounts, pins,
files in the folders that a program may use, and processes. Others may be busy on the machine, so processes are
known by a word in their environment and files by folders of this test's own.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from inside import eventually, need_sandbox

pytestmark = pytest.mark.packets

ROOT = Path(__file__).parents[1]
COMMAND = ("env", "--default-signal=INT", sys.executable, "-m", "vallum", "demo")  # a background job ignores it
MARK = "VALLUM_LEAVES_NOTHING"
KILLS = 5
SETTLES_WITHIN = 10.0
"""Seconds that the kernel gets to take a killed pid namespace and its links down; it takes milliseconds."""


@dataclass(frozen=True)
class Machine:
    """What a demo might leave. Two are equal when nothing was."""

    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    pins: frozenset[str]
    ruleset: str
    files: frozenset[str]
    processes: frozenset[str]


class Demo:
    """A place to run the demo in, and the machine as it was before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = f"{MARK}={os.getpid()}.{time.monotonic_ns()}"
        name, _, value = self._mark.partition("=")
        self.environment = os.environ | {name: value, "TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        self.before = self.machine()

    def start(self) -> subprocess.Popen[bytes]:
        """The command in a session of its own, as a terminal would give it, so that it has its own group."""
        return subprocess.Popen(
            COMMAND,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def machine(self) -> Machine:
        """The machine as it is now."""
        return Machine(
            links=names(Path("/sys/class/net")),
            namespaces=names(Path("/run/netns")),
            mounts=frozenset(mount_points()),
            pins=frozenset(map(str, Path("/sys/fs/bpf").rglob("*"))) if os.geteuid() == 0 else frozenset(),
            ruleset=ruleset(),
            files=frozenset(map(str, self._folder.rglob("*"))),
            processes=frozenset(marked(self._mark.encode())),
        )

    def left(self) -> dict[str, object]:
        """What is there now and was not before, and the other way round, after a while to settle."""
        eventually(lambda: self.machine() == self.before, SETTLES_WITHIN)
        before, now = asdict(self.before), asdict(self.machine())
        return {key: (before[key], now[key]) for key in before if before[key] != now[key]}


def names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


def mount_points() -> list[str]:
    """Without ids and options: place, kind and source (proc(5), mountinfo)."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"{line.split()[4]} {line.split(' - ')[1]}" for line in lines]


def ruleset() -> str:
    """Seen by root with all its capabilities only; without the counters, which move by themselves."""
    listed = ["nft", "--stateless", "list", "ruleset"]
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout if os.geteuid() == 0 else ""


def marked(mark: bytes) -> list[str]:
    """Living processes with the mark in their environment. A zombie has none, nor have other users' to us."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{folder.name} {words}")
        except OSError:
            continue
    return found


def close(process: subprocess.Popen[bytes]) -> bytes:
    """Everything that it printed, once it has ended."""
    text, _ = process.communicate(timeout=60)
    return text


def gets_ready(process: subprocess.Popen[bytes], demo: Demo) -> None:
    """Wait until both nodes have their agent, so that there is something to leave."""

    def agents() -> int:
        return sum(" agent --node " in words for words in demo.machine().processes)

    assert eventually(lambda: agents() == 2 or process.poll() is not None, 20)
    assert process.returncode is None, "it ended before it had agents"


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    need_sandbox()
    return Demo(tmp_path)


def test_the_mark_finds_a_process(tmp_path: Path) -> None:
    """Or the tests below would pass by looking at nothing."""
    place = Demo(tmp_path)
    with subprocess.Popen(["sleep", "60"], env=place.environment) as process:
        assert eventually(lambda: len(place.machine().processes) == 1)
        (tmp_path / "left").touch()
        assert {"files", "processes"} <= {key for key, _ in differences(place.before, place.machine())}
        process.kill()


def differences(before: Machine, after: Machine) -> list[tuple[str, object]]:
    return [(key, value) for key, value in asdict(after).items() if value != asdict(before)[key]]


def test_a_demo_that_ends_leaves_nothing(demo: Demo) -> None:
    with demo.start() as process:
        gets_ready(process, demo)
        printed = close(process).decode()
    assert process.returncode == 0, printed
    assert not demo.left()


def test_ctrl_c_ends_a_demo_and_leaves_nothing(demo: Demo) -> None:
    with demo.start() as process:
        gets_ready(process, demo)
        os.killpg(process.pid, signal.SIGINT)
        printed = close(process).decode()
    assert process.returncode not in (0, None), printed
    assert "Traceback" not in printed
    assert not demo.left()


def test_kill_9_at_five_random_moments_leaves_nothing(demo: Demo) -> None:
    seed = int(os.environ.get("VALLUM_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"VALLUM_SEED={seed}\n")
    dice = random.Random(seed)
    began = time.monotonic()
    with demo.start() as process:
        close(process)
    whole = time.monotonic() - began
    for part in range(KILLS):
        moment = whole * (part + dice.random()) / KILLS
        with demo.start() as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            close(process)
        assert not demo.left(), f"killed after {moment:.3f} s of {whole:.3f} s, VALLUM_SEED={seed}"
