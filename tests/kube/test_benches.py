"""The benches of a real cluster, once and small, on a cluster of their own. No time is judged: that is theirs."""

from dataclasses import dataclass

import pytest

from vallum.lab.bench import latency, podstart
from vallum.lab.bench.kubesite import in_cluster
from vallum.lab.bench.podstart import Size
from vallum.lab.kube.cluster import KubeCluster

SMALL = Size(kubelet=2, roomy=4, crowded=16, rounds=2, policies=20)

pytestmark = pytest.mark.usefixtures("boxed")


@dataclass(frozen=True)
class Both:
    latency: latency.Result
    podstart: podstart.Result


def measured(cluster: KubeCluster) -> Both:
    return Both(latency.measured(cluster, (20,), 1, 20), podstart.measured(cluster, SMALL))


@pytest.fixture(scope="module")
def found() -> Both:
    return in_cluster(measured, Both)


def test_every_change_through_the_api_reaches_packets_both_ways(found: Both):
    assert [(row.change, row.direction) for row in found.latency.rows] == [
        (change, direction)
        for change in ("policy", "label of a pod", "label of a namespace")
        for direction in ("opens", "shuts")
    ]
    for row in found.latency.rows:
        parts = row.watch_ms + row.compile_ms + row.apply_ms + row.kernel_ms
        assert parts == pytest.approx(row.p50_ms)


def test_nothing_leaks_into_pods_that_start_under_fire(found: Both):
    starts = found.podstart.starts
    assert {row.range: row.starts for row in starts if row.order == "object first"} == {
        "crowded": 8,
        "kubelet": 2,
        "roomy": 2,
    }
    assert [(row.leaked, row.inherited, row.witnessed_rested, row.unheard) for row in starts] == [(0, 0, 0, 0)] * 5
    assert all(row.allowed for row in starts)
    assert sum(row.reused_at_once for row in starts)
