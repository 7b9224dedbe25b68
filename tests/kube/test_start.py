"""An agent that starts in a large cluster opens nothing meanwhile: what the last one left in the kernel stays.

How long it takes is measured by `vallum bench coldstart`; here only packets count.
"""

from collections.abc import Iterator

import pytest

from kube import steps
from kube.steps import flow, hold, pods_with, policy
from traffic import Traffic
from vallum.lab.bench import kubecrowd
from vallum.lab.bench.kubesite import Request, send_all
from vallum.lab.kube import pods
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import until

SPACE = "start"
CROWD, POLICIES = 600, 300
LEAST = 500
NAMED = "node1"


@pytest.fixture(scope="module")
def crowded(kube: KubeCluster) -> Iterator[int]:
    """Pods elsewhere and policies; the number of all policies."""
    with steps.namespace(kube, SPACE):
        kube.api.apply(kubecrowd.spaces())
        for each in kubecrowd.spaces():
            if each["kind"] == "Namespace":
                kube.api.await_account(each["metadata"]["name"])
        send_all(kube.api, kubecrowd.policies(POLICIES, SPACE, {"role": "crowded"}))
        send_all(kube.api, kubecrowd.pods(CROWD))
        send_all(kube.api, kubecrowd.statuses(CROWD))
        hold(kube, policy("guard", SPACE, {"role": "server"}, [{"from": [pods_with(role="friend")]}]))
        yield len(kube.api.list(steps.FIREWALL, "NetworkPolicy"))
        remove_crowd(kube)


def remove_crowd(kube: KubeCluster) -> None:
    names = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in far(kube)]
    at_once = {"gracePeriodSeconds": 0}
    send_all(
        kube.api,
        [Request("DELETE", f"/api/v1/namespaces/{space}/pods/{name}", at_once) for space, name in names],
    )
    for each in kubecrowd.spaces():
        kube.api.delete("v1", each["kind"], each["metadata"]["name"])
    spaces = {each["metadata"]["name"] for each in kubecrowd.spaces() if each["kind"] == "Namespace"}
    until(
        lambda: not spaces & {each["metadata"]["name"] for each in kube.api.list("v1", "Namespace")},
        steps.PATIENCE,
        lambda: "namespaces stay",
    )


def far(kube: KubeCluster) -> list[steps.Target]:
    return [pod for pod in kube.api.list("v1", "Pod") if pod["spec"].get("nodeName") == kubecrowd.NODE]


@pytest.mark.stance(17, 20)
def test_a_start_in_a_crowd_loses_and_leaks_nothing(kube: KubeCluster, crowded: int) -> None:
    made = [
        pods.pod(f"{role}{n}", space=SPACE, node=f"node{n}", labels={"role": role})
        for role in ("server", "friend", "stranger")
        for n in (1, 2)
    ]
    kube.api.apply(made)
    crowd = {each["metadata"]["name"]: each for each in kube.wait_ready(made)}
    server = crowd["server1"]
    flows = [
        flow("udp", "udp", (crowd["friend2"], server), 5000),
        flow("tcp6", "tcp6", (crowd["friend1"], server), 5001),
        flow("udp denied", "udp", (crowd["stranger2"], server), 5002),
        flow("syn6 denied", "syn6", (crowd["stranger1"], server), 5003),
    ]
    agent = kube.agents[NAMED]
    with Traffic(flows) as traffic:
        for _ in range(3):
            agent.kill()
            agent.start()
            until(lambda: enforced(kube, crowded), steps.PATIENCE, lambda: f"it says {steps.status(kube, NAMED)}")
        assert steps.wrong(traffic.stop(), LEAST) == []


def enforced(kube: KubeCluster, policies: int) -> bool:
    status = steps.status(kube, NAMED)
    return bool(status.get("healthy")) and status["policies"] == policies
