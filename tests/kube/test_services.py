"""What a cluster's users take for granted stays so under policies: kubelet's probes, Services, host ports, exec, names.

Every Service is judged after DNAT: the backend's own port and the client's own address decide (stances 5 and 11).
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from kube import steps
from kube.steps import block, hold, pods_with, policy, port, reached, targets
from kube.wirings import asked, proxied
from vallum.lab.kube import layout, pods
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.node import PROXY_MODES

SPACE = "services"
SERVES = ("TCP/80", "UDP/80", "HTTP/81")
FRONT, BACK, NODE_PORT, HOST_PORT = 8080, 80, 30880, 18080
BOTH = ("TCP", "UDP")
OUTSIDE: IPv4Address = layout.CONTROL[0]  # type: ignore[assignment]  # the first is IPv4


@pytest.fixture(scope="module")
def crowd(kube: KubeCluster) -> Iterator[dict[str, Manifest]]:
    """A server on node2 behind Services, and clients on both nodes: friends are let in by port 80, strangers not."""
    with steps.namespace(kube, SPACE):
        friends = [pods_with(role="friend")]
        kube.api.apply([policy("in", SPACE, {"app": "server"}, [{"from": friends, "ports": ports(BACK)}])])
        made = [pods.pod("server", SERVES, space=SPACE, node="node2", container=host_port())]
        made += [
            pods.pod(f"{role}-{node}", space=SPACE, node=node, labels={"role": role})
            for role in ("friend", "stranger")
            for node in ("node1", "node2")
        ]
        kube.api.apply([*made, service("cluster", "server"), service("node", "server", node_port())])
        yield {each["metadata"]["name"]: each for each in kube.wait_ready(made)}


def ports(number: int) -> list[steps.Rule]:
    return [port(number, protocol) for protocol in BOTH]


def service(name: str, app: str, more: dict[str, Any] | None = None) -> Manifest:
    spec = {"ports": [{"name": p.lower(), "protocol": p, "port": FRONT, "targetPort": BACK} for p in BOTH]}
    return pods.service(name, [], space=SPACE, selector={"app": app}, spec={**spec, **(more or {})})


def node_port() -> dict[str, Any]:
    listed = [
        {"name": p.lower(), "protocol": p, "port": FRONT, "targetPort": BACK, "nodePort": NODE_PORT} for p in BOTH
    ]
    return {"type": "NodePort", "ports": listed, "externalTrafficPolicy": "Local"}


def host_port() -> dict[str, Any]:
    return {"ports": [{"containerPort": BACK, "hostPort": HOST_PORT}]}


def cluster_addresses(kube: KubeCluster, name: str) -> list[str]:
    found: list[str] = kube.api.get("v1", "Service", name, SPACE)["spec"]["clusterIPs"]
    return found


@pytest.fixture(scope="module", params=sorted(PROXY_MODES, key=lambda mode: mode == asked().proxy))
def mode(kube: KubeCluster, request: pytest.FixtureRequest, crowd: dict[str, Manifest]) -> str:
    """Every kube-proxy in this mode, with the rules of the other one gone; that which the cluster has comes last."""
    assert crowd
    mode = str(request.param)
    kube.set_proxy_mode(mode)
    address = cluster_addresses(kube, "node")[0]
    for node in kube.nodes:
        steps.until(lambda node=node: proxied(kube, node, address) == {mode}, steps.PATIENCE, lambda: f"not {mode}")
    return mode


@pytest.mark.usefixtures("mode")
def test_a_cluster_address_leads_friends_to_the_server_and_no_stranger(
    kube: KubeCluster, crowd: dict[str, Manifest]
) -> None:
    wanted = [target for each in cluster_addresses(kube, "cluster") for target in targets(each, FRONT, *BOTH)]
    assert len(wanted) == 4
    for node in ("node1", "node2"):
        steps.eventually_reached(kube, crowd[f"friend-{node}"], wanted)
        assert reached(kube, crowd[f"stranger-{node}"], wanted) == [False] * 4


@pytest.mark.usefixtures("mode")
def test_a_node_port_leads_friends_to_the_server_and_no_stranger(kube: KubeCluster, crowd: dict[str, Manifest]) -> None:
    wanted = targets(kube.layouts[1].addresses[0], NODE_PORT, *BOTH)
    for node in ("node1", "node2"):
        steps.eventually_reached(kube, crowd[f"friend-{node}"], wanted)
        assert reached(kube, crowd[f"stranger-{node}"], wanted) == [False] * 2


@pytest.mark.usefixtures("mode", "crowd")
def test_a_node_port_that_keeps_sources_lets_in_the_outside_address_that_a_policy_names(kube: KubeCluster) -> None:
    node = kube.layouts[1].addresses[0]
    assert not steps.from_outside(node, NODE_PORT)
    hold(kube, policy("outside", SPACE, {"app": "server"}, [{"from": [block(OUTSIDE)], "ports": [port(BACK)]}]))
    steps.until(lambda: steps.from_outside(node, NODE_PORT), steps.PATIENCE, lambda: "no answer outside")
    kube.api.delete(steps.FIREWALL, "NetworkPolicy", "outside", SPACE)
    steps.until(lambda: not steps.from_outside(node, NODE_PORT), steps.PATIENCE, lambda: "still open outside")


@pytest.mark.usefixtures("mode")
def test_the_port_of_a_service_means_nothing_to_a_policy(kube: KubeCluster, crowd: dict[str, Manifest]) -> None:
    client = crowd["friend-node1"]
    wanted = [target for each in cluster_addresses(kube, "cluster") for target in targets(each, FRONT, *BOTH)]
    steps.eventually_reached(kube, client, wanted)
    to_server = {"to": [pods_with(app="server")]}
    hold(kube, policy("out", SPACE, {"app": "friend-node1"}, egress=[to_server | {"ports": ports(FRONT)}]))
    assert reached(kube, client, wanted) == [False] * 4
    hold(kube, policy("out", SPACE, {"app": "friend-node1"}, egress=[to_server | {"ports": ports(BACK)}]))
    assert reached(kube, client, wanted) == [True] * 4
    kube.api.delete(steps.FIREWALL, "NetworkPolicy", "out", SPACE)


@pytest.mark.usefixtures("mode")
def test_a_pod_reaches_itself_through_its_service(kube: KubeCluster, crowd: dict[str, Manifest]) -> None:
    wanted = [target for each in cluster_addresses(kube, "cluster") for target in targets(each, FRONT, *BOTH)]
    steps.eventually_reached(kube, crowd["server"], wanted)


def test_a_host_port_leads_to_the_pod_and_its_policies_decide(kube: KubeCluster, crowd: dict[str, Manifest]) -> None:
    node = kube.layouts[1].addresses[0]
    wanted = targets(node, HOST_PORT, "TCP")
    assert reached(kube, crowd["friend-node1"], wanted) == [True]
    assert reached(kube, crowd["stranger-node1"], wanted) == [False]
    assert not steps.from_outside(node, HOST_PORT)
    hold(kube, policy("outside", SPACE, {"app": "server"}, [{"from": [block(OUTSIDE)], "ports": [port(BACK)]}]))
    assert steps.from_outside(node, HOST_PORT)
    kube.api.delete(steps.FIREWALL, "NetworkPolicy", "outside", SPACE)


def test_every_kind_of_kubelet_probe_passes_where_nothing_else_does(kube: KubeCluster) -> None:
    with steps.namespace(kube, "closed") as space:
        kube.api.apply([policy("nothing", space, ingress=[], egress=[])])
        kinds: dict[str, dict[str, Any]] = {
            "http": {"httpGet": {"path": "/", "port": 81}},
            "tcp": {"tcpSocket": {"port": 80}},
            "exec": {"exec": {"command": ["/probe", "true"]}},
        }
        made = [
            pods.pod(f"{kind}-{node}", SERVES, space=space, node=node, container=probed(probe))
            for kind, probe in kinds.items()
            for node in ("node1", "node2")
        ]
        kube.api.apply(made)
        ready = kube.wait_ready(made)
        others = [target for each in ready[1:] for target in targets(steps.addresses(each)[0], 80, *BOTH)]
        assert not any(reached(kube, ready[0], others))


def probed(probe: dict[str, Any]) -> dict[str, Any]:
    timed = {**probe, "periodSeconds": 1, "failureThreshold": 3}
    return {"readinessProbe": timed, "livenessProbe": timed}


def test_exec_and_logs_need_no_network_of_the_pod(kube: KubeCluster) -> None:
    with steps.namespace(kube, "closed") as space:
        kube.api.apply([policy("nothing", space, ingress=[], egress=[])])
        made = [pods.pod("quiet", SERVES, space=space)]
        kube.api.apply(made)
        (pod,) = kube.wait_ready(made)
        assert kube.exec(pod, ["probe", "cat", "/etc/hostname"]).out == "quiet\n"
        assert kube.logs(pod) == f"serving {' '.join(SERVES)}\n"


def test_names_are_answered_to_a_pod_that_may_do_nothing_else(kube: KubeCluster, crowd: dict[str, Manifest]) -> None:
    naming = pods.names({"server.services.svc.cluster.local": "192.0.2.9"}, node="node2")
    with steps.namespace(kube, "asking") as space:
        system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
        dns = {"to": [{**system, **pods_with(app="kube-dns")}], "ports": [port(53, "UDP")]}
        kube.api.apply([*naming, policy("dns", space, egress=[dns])])
        made = [pods.pod(f"asker-{node}", space=space, node=node) for node in ("node1", "node2")]
        kube.api.apply(made)
        kube.wait_ready(naming[:1])
        for pod in kube.wait_ready(made):
            steps.until(lambda pod=pod: answered(kube, pod), steps.PATIENCE, lambda: "no name was answered")
            assert reached(kube, pod, targets(steps.addresses(crowd["friend-node1"])[0], 80, *BOTH)) == [False] * 2
    for thing in naming:
        kube.api.delete("v1", thing["kind"], thing["metadata"]["name"], "kube-system", grace=0)


def answered(kube: KubeCluster, pod: Manifest) -> bool:
    return kube.exec(pod, ["probe", "lookup", "server.services.svc"]).out == "192.0.2.9\n"
