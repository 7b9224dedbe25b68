"""`make kube-up` and `make kube-down` as commands: what is up can be used from outside, and down leaves nothing.

Compared before and after: links, namespaces, mounts, control groups, processes, rules, settings and the files that
programs of a node make. The kill tests end it where nothing of ours can clean up; then `down` has to.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from inside import eventually
from vallum.lab.kube import background, binaries, box, cgroups

COMMAND = (sys.executable, "-m", "vallum.lab.kube")
SETTLES_WITHIN = 20.0
CHANGED_BY_NODES = ("/var/lib", "/var/log", "/etc/cni", "/opt", "/usr/libexec", "/run")
PROGRAMS = ("etcd", "kube", "containerd", "probe", "runc", "vallum-init", "vallum-door")

pytestmark = pytest.mark.usefixtures("boxed")


@dataclass(frozen=True)
class Machine:
    """What a cluster might leave. Two are equal when nothing was."""

    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    groups: frozenset[str]
    processes: frozenset[str]
    ruleset: str
    settings: tuple[str, ...]
    files: frozenset[str]


def machine() -> Machine:
    return Machine(
        links=names("/sys/class/net"),
        namespaces=names("/run/netns"),
        mounts=frozenset(line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        groups=frozenset(str(each) for each in Path("/sys/fs/cgroup").glob(f"*/{cgroups.PREFIX}*") if abandoned(each)),
        processes=frozenset(running()),
        ruleset=subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout,
        settings=tuple(Path("/proc/sys", key).read_text() for key in box.WANTED),
        files=frozenset(str(each) for folder in CHANGED_BY_NODES for each in files(Path(folder))),
    )


def names(folder: str) -> frozenset[str]:
    return frozenset(each.name for each in Path(folder).iterdir()) if Path(folder).is_dir() else frozenset()


def abandoned(group: Path) -> bool:
    """Groups reach out of every sandbox: those of other clusters, which hold them, are none of ours."""
    try:
        held = os.open(group, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def files(folder: Path) -> Iterator[Path]:
    """Two levels, which is as deep as programs make new places of their own; what lies in ours is not looked at."""
    for each in folder.glob("*"):
        yield each
        if each.is_dir() and not each.is_symlink():
            yield from each.glob("*")


def running() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue
        if name.startswith(PROGRAMS):
            yield f"{folder.name} {name}"


def left(before: Machine) -> dict[str, object]:
    """What differs, after a while to settle."""
    eventually(lambda: machine() == before, SETTLES_WITHIN)
    now = asdict(machine())
    return {key: (value, now[key]) for key, value in asdict(before).items() if value != now[key]}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def before() -> Iterator[Machine]:
    """The machine without a cluster, and again without one in the end."""
    background.down()
    yield machine()
    background.down()


def pid() -> int:
    return int((background.FOLDER / "pid").read_text())


def test_what_is_up_can_be_used_from_outside_and_down_leaves_nothing(before: Machine) -> None:
    up = run("up", "--cni", "bridge")
    assert up.returncode == 0, up.stderr
    config = run("kubeconfig").stdout.strip()
    assert machine() != before  # or the comparison sees nothing
    kubectl = [binaries.build().path("kubectl"), f"--kubeconfig={config}", "get", "nodes", "-o", "json"]
    told = json.loads(subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout)
    assert [each["metadata"]["name"] for each in told["items"]] == ["node1", "node2"]
    assert "172.30.0.11" in run("exec", "--node", "node1", "--", "ip", "address").stdout
    assert run("exec", "--", "sh", "-c", "exit 7").returncode == 7
    again = run("up", "--cni", "bridge")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    down = run("down")
    assert (down.returncode, down.stdout) == (0, "kube: down\n")
    assert not left(before)
    assert run("status").returncode == 2


def test_a_cluster_that_was_killed_is_cleared_away_by_down(before: Machine) -> None:
    assert run("up", "--cni", "bridge").returncode == 0
    os.kill(pid(), signal.SIGKILL)
    assert eventually(lambda: not background.held())
    assert machine() != before
    assert run("down").returncode == 0
    assert not left(before)


def test_a_start_that_was_killed_half_way_is_cleared_away_by_down(before: Machine) -> None:
    with subprocess.Popen([*COMMAND, "up", "--cni", "bridge"], stdout=subprocess.DEVNULL) as starting:
        assert eventually((background.LOGS / "node2-containerd.log").exists, 60)
        starting.kill()
    assert machine() != before
    assert run("down").returncode == 0
    assert not left(before)
