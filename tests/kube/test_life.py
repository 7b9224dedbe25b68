"""The life of a cluster: many pods at once, crashes, pods that come again, drained and removed nodes, new agents.

Whatever happens, what is allowed loses no packet and what is denied gets none through; both are counted.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from kube import steps
from kube.steps import flow, hold, pods_with, policy, reached, targets
from traffic import Flow, Traffic
from vallum.lab.kube import node, pods
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster, condition
from vallum.lab.kube.component import until

SPACE = "life"
SERVES = ("TCP/80", "UDP/80")
BOTH = ("TCP", "UDP")
AT_ONCE, WITHIN = 50, 60.0
LEAST = 1000
"""Packets of each flow; one is sent a millisecond."""

Crowd = dict[str, Manifest]


@pytest.fixture(scope="module")
def crowd(kube: KubeCluster) -> Iterator[Crowd]:
    """A server, a friend and a stranger on each node. Servers let in friends; friends may speak to servers only."""
    with steps.namespace(kube, SPACE):
        guard = policy("guard", SPACE, {"role": "server"}, [{"from": [pods_with(role="friend")]}])
        out = policy("out", SPACE, {"role": "friend"}, egress=[{"to": [pods_with(role="server")]}])
        hold(kube, guard, out)
        made = [
            pods.pod(f"{role}{n}", SERVES, space=SPACE, node=f"node{n}", labels={"role": role})
            for role in ("server", "friend", "stranger")
            for n in (1, 2)
        ]
        kube.api.apply(made)
        yield {each["metadata"]["name"]: each for each in kube.wait_ready(made)}


def flows(crowd: Crowd) -> list[Flow]:
    """Allowed and denied ones across the nodes and within each."""
    here, there = crowd["server1"], crowd["server2"]
    return [
        flow("udp", "udp", (crowd["friend2"], here), 5000),
        flow("udp6", "udp6", (crowd["friend1"], there), 5000),
        flow("tcp", "tcp", (crowd["friend1"], here), 5001),
        flow("tcp6", "tcp6", (crowd["friend2"], here), 5001),
        flow("udp denied", "udp", (crowd["stranger2"], here), 5002),
        flow("syn denied", "syn", (crowd["stranger1"], there), 5003),
        flow("syn6 denied", "syn6", (crowd["stranger1"], here), 5003),
    ]


def addressed(*servers: Manifest) -> list[steps.Target]:
    return [target for each in servers for one in steps.addresses(each) for target in targets(one, 80, *BOTH)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told to end", "killed"])
@pytest.mark.stance(20)
def test_new_agents_one_after_the_other_lose_and_leak_nothing(kube: KubeCluster, crowd: Crowd, number: int) -> None:
    with Traffic(flows(crowd)) as traffic:
        for name, agent in kube.agents.items():
            before = steps.status(kube, name)["started"]
            agent.stop(number)
            agent.start()
            until(
                lambda name=name, before=before: steps.status(kube, name).get("started", before) != before,
                steps.PATIENCE,
                lambda: "the agent does not answer",
            )
            steps.healthy(kube, name)
        assert steps.wrong(traffic.stop(), LEAST) == []


def test_fifty_pods_at_once_on_a_node_are_ready_within_a_minute_and_protected(kube: KubeCluster, crowd: Crowd) -> None:
    made = [
        pods.pod(f"many{n}", SERVES, space=SPACE, node="node1", labels={"role": "server"}, container=probed())
        for n in range(AT_ONCE)
    ]
    with Traffic(flows(crowd)) as traffic:
        kube.api.apply(made)
        ready = kube.wait_ready(made, WITHIN)
        assert steps.wrong(traffic.stop(), LEAST) == []
    assert len({one for each in ready for one in steps.addresses(each)}) == 2 * AT_ONCE
    wanted = addressed(*ready)
    steps.eventually_reached(kube, crowd["friend2"], wanted)
    assert not any(reached(kube, crowd["stranger2"], wanted))
    for each in made:
        kube.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)
    kube.wait_gone(made)


def probed() -> dict[str, Any]:
    return {"readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}}


def test_a_container_that_crashes_comes_back_with_the_address_and_the_rules_of_its_pod(
    kube: KubeCluster, crowd: Crowd
) -> None:
    made = [pods.pod("crasher", SERVES, space=SPACE, node="node2", labels={"role": "server"}, container=probed())]
    kube.api.apply(made)
    (before,) = kube.wait_ready(made)
    victim = next(pid for pid, words in steps.processes(before).items() if " serve " in words)
    with Traffic(flows(crowd)) as traffic:
        os.kill(victim, signal.SIGKILL)
        until(lambda: restarts(kube, "crasher") == 1, steps.PATIENCE, lambda: "it was not restarted")
        (after,) = kube.wait_ready(made)
        assert steps.addresses(after) == steps.addresses(before)
        steps.eventually_reached(kube, crowd["friend1"], addressed(after))
        assert not any(reached(kube, crowd["stranger1"], addressed(after)))
        assert steps.wrong(traffic.stop(), LEAST) == []


def restarts(kube: KubeCluster, name: str) -> int:
    statuses = kube.api.get("v1", "Pod", name, SPACE)["status"].get("containerStatuses", [])
    return sum(int(each["restartCount"]) for each in statuses)


def test_a_pod_that_comes_again_under_its_name_is_protected_at_its_new_address(kube: KubeCluster, crowd: Crowd) -> None:
    made = [pods.pod("again", SERVES, space=SPACE, node="node1", labels={"role": "server"})]
    kube.api.apply(made)
    (before,) = kube.wait_ready(made)
    kube.api.delete("v1", "Pod", "again", SPACE)
    kube.wait_gone(made)
    kube.api.apply(made)
    (after,) = kube.wait_ready(made)
    assert not set(steps.addresses(after)) & set(steps.addresses(before))  # an address rests before it is given again
    steps.eventually_reached(kube, crowd["friend2"], addressed(after))
    assert not any(reached(kube, crowd["stranger2"], addressed(after)))
    assert not any(reached(kube, crowd["stranger2"], addressed(before)))


def test_a_drained_node_moves_its_pods_and_they_are_protected_where_they_come_up(
    kube: KubeCluster, crowd: Crowd
) -> None:
    kube.api.apply([deployment("moving", 4)])
    until(lambda: len(moved(kube)) == 4, steps.PATIENCE, lambda: f"{len(moved(kube))} of 4 are ready")
    assert {each["spec"]["nodeName"] for each in moved(kube)} == {"node1", "node2"}
    with Traffic(flows(crowd)) as traffic:
        drained = kube.kubectl("drain", "node2", "--pod-selector=app=moving", "--timeout=60s")
        assert drained.code == 0, drained.err
        until(lambda: len(moved(kube, "node1")) == 4, steps.PATIENCE, lambda: f"{len(moved(kube))} of 4 are ready")
        assert steps.wrong(traffic.stop(), LEAST) == []
    wanted = addressed(*moved(kube))
    steps.eventually_reached(kube, crowd["friend2"], wanted)
    assert not any(reached(kube, crowd["stranger2"], wanted))
    assert kube.kubectl("uncordon", "node2").code == 0
    kube.api.delete("apps/v1", "Deployment", "moving", SPACE)


def deployment(name: str, replicas: int) -> Manifest:
    labels = {"app": name, "role": "server"}
    template = pods.pod(name, SERVES, labels=labels)
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    spread["labelSelector"] = {"matchLabels": {"app": name}}
    spec = {**template["spec"], "topologySpreadConstraints": [spread]}
    whole = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}}
    whole["template"] = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": whole,
    }


def moved(kube: KubeCluster, place: str | None = None) -> list[Manifest]:
    """The pods that are ready and not on their way out, on a node or anywhere."""
    return [
        each
        for each in kube.api.list("v1", "Pod", SPACE)
        if each["metadata"]["labels"]["app"] == "moving"
        and condition(each, "Ready")
        and "deletionTimestamp" not in each["metadata"]
        and place in {None, each["spec"]["nodeName"]}
    ]


def test_a_removed_node_leaves_no_route_and_no_state_behind_and_may_come_again(kube: KubeCluster) -> None:
    place, stays = kube.layouts[1], kube.layouts[0].name
    ranges = [str(network) for network in place.pod_ranges]
    assert not [each for each in ranges if each not in routes(kube, stays)]
    assert kube.api.find("vallum.dev/v1alpha1", "NodeState", place.name) is not None
    kube.agents[place.name].stop()
    kube.nodes[place.name].kubelet.stop()
    kube.api.delete("v1", "Node", place.name)
    try:
        until(
            lambda: not [each for each in ranges if each in routes(kube, stays)],
            steps.PATIENCE,
            lambda: f"routes stay: {routes(kube, stays)}",
        )
        until(
            lambda: kube.api.find("vallum.dev/v1alpha1", "NodeState", place.name) is None,
            steps.PATIENCE,
            lambda: "its NodeState stays",
        )
    finally:
        kube.api.apply([node.manifest(place)])
        kube.nodes[place.name].kubelet.start()
        kube.agents[place.name].start()
    until(kube.nodes_ready, steps.PATIENCE, lambda: "the node is not Ready again")
    steps.healthy(kube, place.name)
    until(
        lambda: all(each in routes(kube, stays) for each in ranges),
        steps.PATIENCE,
        lambda: f"no routes: {routes(kube, stays)}",
    )


def routes(kube: KubeCluster, name: str) -> str:
    return kube.run_on(name, ["ip", "-4", "route"]).out + kube.run_on(name, ["ip", "-6", "route"]).out
