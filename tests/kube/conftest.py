"""One real cluster for all tests here, built in the sandbox that `make test-kube` makes around the whole run.

Outside of it tests that need a cluster are left out by name of their fixture; what needs none runs everywhere. The
environment chooses the kind of cluster (`wirings`); on one that another plugin wires, only what holds there runs.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube import wirings
from vallum.lab.kube import binaries, box, layout
from vallum.lab.kube.cluster import KubeCluster

_HERE = Path(__file__).parent
_ANYWHERE = {_HERE / "test_scenarios.py", _HERE / "test_services.py"}
"""What is true whoever wires the pods; other tests are about a cluster that is ours, or make one that is not."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs the sandbox where there is none; inside, what compares the machine goes first."""
    if box.inside():
        items.sort(key=lambda item: _needs(item, "kube"))
        if wirings.asked().wiring == wirings.OURS:
            return
        left_out = [item for item in items if _HERE in item.path.parents and item.path not in _ANYWHERE]
    else:
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
    """The cluster that is asked for. When a test failed, the last words of its processes are printed at the end."""
    logs = Path(os.environ.get("VALLUM_KUBE_LOGS", layout.STATE / "logs"))
    kind = wirings.asked()
    cluster = wirings.cluster(kind, logs, binaries.build())
    failed = request.session.testsfailed
    try:
        cluster.up()
        wirings.guard(cluster, kind.wiring)
        yield cluster
    finally:
        if request.session.testsfailed > failed:
            for component in cluster.components():
                sys.stdout.write(f"--- {component.name}\n{component.said()}\n")
        cluster.down()
