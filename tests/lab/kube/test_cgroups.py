"""Control groups of a cluster: whoever holds them keeps them, and what a crash left goes."""

import os
from pathlib import Path

import pytest

from inside import eventually, fork
from vallum.lab.kube import cgroups
from vallum.lab.kube.cgroups import Groups
from vallum.model.errors import InputError


@pytest.fixture(autouse=True)
def writable() -> None:
    """Control groups belong to root."""
    if os.geteuid() != 0:
        pytest.skip("making control groups needs root")
    try:
        cgroups.check()
    except InputError as error:
        pytest.skip(str(error))


def places(name: str) -> list[Path]:
    return [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]


def test_groups_stay_while_somebody_holds_them_and_go_with_the_last_holder() -> None:
    told, tell = os.pipe()
    wait, end = os.pipe()

    def hold() -> None:
        os.close(end)
        os.write(tell, Groups(["node1"]).name.encode())
        os.read(wait, 1)  # until the other end is closed

    child = fork(hold)
    os.close(wait)
    name = os.read(told, 100).decode()
    for mine in (told, tell):
        os.close(mine)
    assert all((place / "node1").is_dir() for place in places(name))
    assert len(places(name)) > 0
    cgroups.remove_abandoned()
    assert len(places(name)) > 0
    os.close(end)
    os.waitpid(child, 0)
    assert eventually(lambda: name not in cgroups.remove_abandoned())
    assert not places(name)


def test_two_clusters_never_share_a_group() -> None:
    first, second = Groups(["node1"]), Groups(["node1"])
    try:
        assert first.root("node1") != second.root("node1")
    finally:
        for held in (*first._held, *second._held):
            os.close(held)
        cgroups.remove_abandoned()
