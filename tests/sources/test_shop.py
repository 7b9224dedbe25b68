"""The example shop holds what its story needs, and decodes to what it says."""

from ipaddress import ip_address, ip_network
from pathlib import Path

from vallum.model.objects import TCP, UDP, Block, NamedPort, Peer, Pod, PodId, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.sources.folder import read_world, snapshot

SHOP = Path(__file__).parent.parent.parent / "examples" / "shop"
WORLD = read_world(SHOP)
SNAPSHOT = snapshot(WORLD)


def labelled(**labels: str) -> Selector:
    return Selector(tuple(Requirement(key, Operator.IN, (value,)) for key, value in sorted(labels.items())))


def policy(namespace: str, name: str) -> Policy:
    return SNAPSHOT.policies[PolicyId(namespace, name)]


def test_it_has_its_namespaces_and_pods_and_nothing_was_skipped() -> None:
    assert set(SNAPSHOT.namespaces) == {"shop", "data", "monitoring", "guest", "kube-system"}
    assert {str(pod) for pod in SNAPSHOT.pods} == {
        "shop/web",
        "shop/api",
        "shop/worker",
        "shop/migrate",
        "data/db",
        "data/cache",
        "monitoring/metrics",
        "monitoring/node-exporter",
        "guest/outsider",
        "kube-system/dns",
    }
    assert WORLD.skipped == {}
    assert not SNAPSHOT.nodes


def test_web_is_read_with_addresses_and_named_ports() -> None:
    assert SNAPSHOT.pods[PodId("shop", "web")] == Pod(
        PodId("shop", "web"),
        (("app", "web"), ("tier", "front")),
        "node1",
        (ip_address("10.44.1.10"), ip_address("fd44:0:0:1::10")),
        (NamedPort("http", TCP, 8080), NamedPort("metrics", TCP, 9102)),
    )


def test_one_pod_is_finished_one_on_the_host_and_one_has_no_node() -> None:
    assert [str(pod.id) for pod in SNAPSHOT.pods.values() if pod.finished] == ["shop/migrate"]
    hosts = [pod for pod in SNAPSHOT.pods.values() if pod.host_network]
    assert [(str(pod.id), pod.node, pod.addresses) for pod in hosts] == [("monitoring/node-exporter", "node1", ())]
    assert [str(pod.id) for pod in SNAPSHOT.pods.values() if pod.node is None] == ["shop/worker"]


def test_stated_addresses_lie_in_the_range_of_their_node() -> None:
    stated = [pod for pod in SNAPSHOT.pods.values() if pod.addresses]
    assert {str(pod.id) for pod in stated} == {"shop/web", "data/db", "guest/outsider"}
    for pod in stated:
        number = (pod.node or "").removeprefix("node")
        ranges = [ip_network(f"10.44.{number}.0/24"), ip_network(f"fd44:0:0:{number}::/64")]
        assert [address in network for address, network in zip(pod.addresses, ranges, strict=True)] == [True, True]


def test_callers_and_called_are_on_different_nodes() -> None:
    nodes = {str(pod.id): pod.node for pod in SNAPSHOT.pods.values()}
    assert nodes["shop/web"] != nodes["shop/api"] != nodes["data/db"]


def test_default_deny_isolates_both_directions() -> None:
    for namespace in ("shop", "data"):
        assert policy(namespace, "default-deny") == Policy(PolicyId(namespace, "default-deny"), EVERYTHING, (), ())


def test_the_front_door_is_open_to_all_pods_and_to_customers_less_a_blocked_range() -> None:
    peers = (
        Peer(None, EVERYTHING),
        Peer(block=Block(ip_network("203.0.113.0/24"), (ip_network("203.0.113.64/26"),))),
        Peer(block=Block(ip_network("2001:db8:5::/48"))),
    )
    assert policy("shop", "front-door") == Policy(
        PolicyId("shop", "front-door"),
        labelled(app="web"),
        (PolicyRule(peers, (PolicyPort(TCP, "http"),)),),
    )


def test_names_are_asked_of_the_dns_pod_over_both_protocols() -> None:
    peer = Peer(labelled(**{"k8s-app": "kube-dns"}), labelled(**{"kubernetes.io/metadata.name": "kube-system"}))
    rule = PolicyRule((peer,), (PolicyPort(UDP, 53), PolicyPort(TCP, 53)))
    assert policy("shop", "names") == Policy(PolicyId("shop", "names"), EVERYTHING, None, (rule,))


def test_the_shop_uses_every_operator_a_range_a_name_and_both_selectors_in_one_peer() -> None:
    rules = [rule for one in SNAPSHOT.policies.values() for rule in (*(one.ingress or ()), *(one.egress or ()))]
    peers = [peer for rule in rules for peer in rule.peers or ()]
    selectors = [*(one.pods for one in SNAPSHOT.policies.values()), *(peer.pods for peer in peers if peer.pods)]
    assert {need.operator for one in selectors for need in one.requirements} == set(Operator)
    ports = [port for rule in rules for port in rule.ports or ()]
    assert PolicyPort(TCP, 9100, 9110) in ports
    assert any(isinstance(port.port, str) for port in ports)
    assert any(peer.pods and peer.namespaces for peer in peers)
