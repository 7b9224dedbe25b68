"""The test cluster is a Kubernetes: pods, names, Services and failures, before anybody tests anything on it.

What Vallum does there is tested beside this; here stands only what those tests take for granted.
"""

import json
import signal
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from vallum.lab.kube import layout, pods
from vallum.lab.kube.client import ApiError, Manifest
from vallum.lab.kube.cluster import KubeCluster, condition
from vallum.lab.kube.component import until

SPACE = "smoke"
SERVES = ("TCP/80", "UDP/80", "SCTP/80", "HTTP/81")
NODE_PORT = 30080
PROTOCOLS = ("TCP", "UDP", "SCTP")
PATIENCE = 20.0
"""Seconds that kube-proxy or a kubelet gets for what usually takes one."""

Pair = tuple[Manifest, Manifest]


@pytest.fixture(scope="module")
def pair(kube: KubeCluster) -> Iterator[Pair]:
    """A pod on each node, Ready, each behind a Service of its name."""
    wanted = [pods.pod(f"on{n}", SERVES, space=SPACE, node=f"node{n}") for n in (1, 2)]
    kube.api.apply([pods.namespace(SPACE), *wanted])
    kube.api.apply([pods.service("on1", ["TCP/80", "UDP/80", "SCTP/80"], space=SPACE, spec=node_port())])
    first, second = kube.wait_ready(wanted)
    yield first, second
    kube.api.delete("v1", "Namespace", SPACE)


def node_port() -> dict[str, Any]:
    ports = [{"name": p.lower(), "protocol": p, "port": 80, "nodePort": NODE_PORT} for p in PROTOCOLS]
    return {"type": "NodePort", "ports": ports}


def addresses(pod: Manifest) -> list[str]:
    return [each["ip"] for each in pod["status"]["podIPs"]]


def targets(address: str, port: int, *protocols: str) -> list[dict[str, Any]]:
    return [{"protocol": protocol, "address": address, "port": port} for protocol in protocols]


def reached(kube: KubeCluster, pod: Manifest, wanted: list[dict[str, Any]]) -> bool:
    return all(answer["ok"] for answer in kube.probe(pod, wanted))


def test_every_node_is_ready_and_has_its_own_ranges(kube: KubeCluster) -> None:
    nodes = {each["metadata"]["name"]: each for each in kube.api.list("v1", "Node")}
    assert set(nodes) == {"node1", "node2"}
    assert all(condition(each, "Ready") for each in nodes.values())
    for place in kube.layouts:
        assert nodes[place.name]["spec"]["podCIDRs"] == [str(network) for network in place.pod_ranges]


def test_pods_run_on_both_nodes_with_an_address_of_each_family(kube: KubeCluster, pair: Pair) -> None:
    for pod, place in zip(pair, kube.layouts, strict=True):
        assert pod["spec"]["nodeName"] == place.name
        held = [ip_address(text) for text in addresses(pod)]
        assert [address.version for address in held] == [4, 6]
        assert all(address in network for address, network in zip(held, place.pod_ranges, strict=True))


def test_a_pod_reaches_the_other_node_by_every_protocol_and_is_seen_as_itself(kube: KubeCluster, pair: Pair) -> None:
    here, there = pair
    for own, address in zip(addresses(here), addresses(there), strict=True):
        answers = kube.probe(here, targets(address, 80, "TCP", "UDP", "SCTP", "ICMP"))
        assert [answer["ok"] for answer in answers] == [True] * 4
        assert [(answer["host"], answer["peer"]) for answer in answers[:2]] == [("on2", own)] * 2


def test_a_port_that_nobody_serves_is_told_from_one_that_is(kube: KubeCluster, pair: Pair) -> None:
    (answer,) = kube.probe(pair[0], targets(addresses(pair[1])[0], 9, "TCP"))
    assert (answer["ok"], answer["error"]) == (False, "refused")


def test_exec_hands_on_input_output_and_the_exit_code(kube: KubeCluster, pair: Pair) -> None:
    assert kube.exec(pair[0], ["probe", "false"]).code == 1
    assert kube.exec(pair[0], ["probe", "cat", "/etc/hostname"]).out == "on1\n"
    said = kube.exec(pair[0], ["probe", "talk", addresses(pair[1])[0], "80"], "over there\n")
    assert said.out.splitlines()[1:] == ["over there"]


def test_logs_are_what_the_container_printed(kube: KubeCluster, pair: Pair) -> None:
    assert kube.logs(pair[1]) == f"serving {' '.join(SERVES)}\n"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_services_work_in_each_proxy_mode(kube: KubeCluster, pair: Pair, mode: str) -> None:
    if mode == "iptables" and (ran := kube.run_on("node1", ["iptables", "-t", "nat", "-S"])).code != 0:
        pytest.skip(f"this kernel has no iptables NAT: {ran.err.strip()}")
    kube.set_proxy_mode(mode)
    service = kube.api.get("v1", "Service", "on1", SPACE)
    wanted = [target for address in service["spec"]["clusterIPs"] for target in targets(address, 80, *PROTOCOLS)]
    wanted += [target for place in kube.layouts for target in targets(str(place.addresses[0]), NODE_PORT, *PROTOCOLS)]
    assert len(wanted) == 2 * 3 + 2 * 3
    for pod in pair:
        until(lambda pod=pod: reached(kube, pod, wanted), PATIENCE, lambda: f"{mode}: {kube.probe(pair[0], wanted)}")
    tables = kube.run_on("node1", ["nft", "list", "tables"]).out
    assert ("kube-proxy" in tables) == (mode == "nftables")


def test_names_are_answered_where_pods_ask_for_them(kube: KubeCluster, pair: Pair) -> None:
    name = f"on1.{SPACE}.svc.cluster.local"
    wanted = pods.names({name: "192.0.2.7"}, node="node2")
    kube.api.apply(wanted)
    kube.wait_ready(wanted[:1])
    until(
        lambda: kube.exec(pair[0], ["probe", "lookup", f"on1.{SPACE}.svc"]).out == "192.0.2.7\n",
        PATIENCE,
        lambda: kube.exec(pair[0], ["probe", "lookup", f"on1.{SPACE}.svc"]).err,
    )
    for thing in wanted:
        kube.api.delete("v1", thing["kind"], thing["metadata"]["name"], "kube-system", grace=0)


def test_a_kubelet_probes_its_pods_and_restarts_those_that_fail(kube: KubeCluster, pair: Pair) -> None:
    assert pair
    probe = {"httpGet": {"path": "/", "port": 81}, "periodSeconds": 1, "failureThreshold": 1}
    failing = {**probe, "httpGet": {"path": "/fail", "port": 81}}
    well = pods.pod("well", SERVES, space=SPACE, container={"livenessProbe": probe, "readinessProbe": probe})
    ill = pods.pod("ill", SERVES, space=SPACE, container={"livenessProbe": failing})
    kube.api.apply([well, ill])
    kube.wait_ready([well])

    def restarts(name: str) -> int:
        statuses = kube.api.get("v1", "Pod", name, SPACE)["status"].get("containerStatuses", [])
        return sum(int(each["restartCount"]) for each in statuses)

    until(lambda: restarts("ill") > 0, PATIENCE, lambda: "the pod that fails was not restarted")
    assert restarts("well") == 0


def test_the_server_refuses_what_rbac_does_not_allow(kube: KubeCluster) -> None:
    stranger = type(kube.api)(kube.user_kubeconfig("stranger", "stranger"))
    with pytest.raises(ApiError) as refused:
        stranger.list("v1", "Pod")
    assert refused.value.code == 403


def test_a_killed_api_server_comes_back_with_its_world(kube: KubeCluster, pair: Pair) -> None:
    server = kube.control["kube-apiserver"]
    before = kube.api.get("v1", "Pod", "on1", SPACE)["metadata"]["uid"]
    server.stop(signal.SIGKILL)
    assert not kube.api.ready()
    server.start()
    server.await_(kube.api.ready, 60)
    assert kube.api.get("v1", "Pod", "on1", SPACE)["metadata"]["uid"] == before
    assert reached(kube, pair[0], targets(addresses(pair[1])[0], 80, "TCP"))


def test_a_pod_that_is_deleted_goes(kube: KubeCluster, pair: Pair) -> None:
    assert pair
    short = pods.pod("short", SERVES, space=SPACE)
    kube.api.apply([short])
    kube.wait_ready([short])
    kube.api.delete("v1", "Pod", "short", SPACE)
    kube.wait_gone([short])


def test_twenty_pods_at_once_get_twenty_addresses(kube: KubeCluster, pair: Pair) -> None:
    assert pair
    wanted = [pods.pod(f"many{n}", space=SPACE) for n in range(20)]
    kube.api.apply(wanted)
    found = kube.wait_ready(wanted)
    assert len({each["status"]["podIP"] for each in found}) == 20
    for each in wanted:
        kube.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)


def test_kubectl_sees_the_same_cluster(kube: KubeCluster) -> None:
    told = json.loads(kube.kubectl("version", "-o", "json").out)
    assert told["serverVersion"]["gitVersion"] == told["clientVersion"]["gitVersion"] == "v1.34.4"
    assert str(layout.CONTROL[0]) in kube.kubectl("cluster-info").out
