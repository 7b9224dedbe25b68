"""One real cluster for all tests here, built in the sandbox that `make test-kube` makes around the whole run.

Outside of it tests that need a cluster are left out by name of their fixture; what needs none runs everywhere.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vallum.lab.kube import binaries, box, layout
from vallum.lab.kube.cluster import KubeCluster, KubeSettings

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs the sandbox where there is none; inside, what compares the machine goes first."""
    if box.inside():
        items.sort(key=lambda item: _needs(item, "kube"))
        return
    left_out = [item for item in items if _needs(item, "kube") or _needs(item, "boxed")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _needs(item: pytest.Item, fixture: str) -> bool:
    return _HERE in item.path.parents and fixture in getattr(item, "fixturenames", ())


@pytest.fixture
def boxed() -> None:
    """Asked for by tests that build clusters of their own, as the command does, before the one for all is up."""


@pytest.fixture(scope="session")
def kube(request: pytest.FixtureRequest) -> Iterator[KubeCluster]:
    """The cluster. When a test failed, the last words of its processes are printed at the end."""
    logs = Path(os.environ.get("VALLUM_KUBE_LOGS", layout.STATE / "logs"))
    cluster = KubeCluster(KubeSettings(cni="vallum", logs=logs), binaries.build())
    failed = request.session.testsfailed
    try:
        cluster.up()
        yield cluster
    finally:
        if request.session.testsfailed > failed:
            for component in cluster.components():
                sys.stdout.write(f"--- {component.name}\n{component.said()}\n")
        cluster.down()
