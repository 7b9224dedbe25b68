"""Objects of the API become what the reader of folders makes of them; what none should give stops nothing."""

from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.model.objects import TCP, Block, Namespace, Node, Peer, Pod, Policy, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.sources.decode import decode
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.kinds import KINDS, NAMESPACES, NODES, PODS, POLICIES, Door, Kind, Read
from worlds import documents

NAMES = {"Policy": "NetworkPolicy"}
ADDRESS = ip_address("10.44.0.7")


def read(kind: Kind, body: dict[str, Any], own: str = "") -> Read:
    return Door(kind, Interned(), own).one(msgspec.json.encode(body))


def thing_of(kind: Kind, body: dict[str, Any]) -> Any:
    found = read(kind, body)
    assert not found.problems
    return found.thing


def pod(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}} | fields


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "one", "namespace": "shop"}, "spec": {"podSelector": {}} | spec}


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_an_object_of_the_api_is_what_the_same_manifest_is(random: Random):
    doors = {NAMES.get(kind.name, kind.name): Door(kind, Interned(), "") for kind in KINDS}
    for body in documents(random, twins=True):
        if body["kind"] in doors:
            found = doors[body["kind"]].one(msgspec.json.encode(body))
            assert found.thing == decode(body["kind"], body)
            assert not found.problems


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_page_holds_what_its_objects_are_one_by_one(random: Random):
    pods = [body for body in documents(random) if body["kind"] == "Pod"]
    page = Door(PODS, Interned(), "").page(
        msgspec.json.encode({"kind": "PodList", "metadata": {"resourceVersion": "7", "continue": "x"}, "items": pods})
    )
    assert (page.version, page.more) == ("7", "x")
    assert [each.thing for each in page.objects()] == [decode("Pod", body) for body in pods]


def test_null_is_as_good_as_absent():
    odd = pod(spec={"containers": None, "initContainers": None}, status={"podIPs": None})
    odd["metadata"] |= {"ownerReferences": None, "creationTimestamp": None, "labels": None}
    assert thing_of(PODS, odd) == decode("Pod", pod() | {"metadata": {"name": "web", "namespace": "shop"}})
    nothing = policy(policyTypes=None, ingress=None, egress=None)
    assert thing_of(POLICIES, nothing) == decode("NetworkPolicy", nothing)
    assert not Door(PODS, Interned(), "").page(b'{"metadata":{"resourceVersion":"7"},"items":null}').more


def test_what_the_annotations_of_a_node_list_is_read_and_what_cannot_be_is_left_out():
    listed = {
        "vallum.dev/pod-ranges": "10.44.9.0/28, 10.44.9.32/28",
        "vallum.dev/groups": "10.44.0.0/16",
        "vallum.dev/routers": "192.0.2.254,fd00::fe",
        "vallum.dev/local-addresses": "192.0.2.7",
    }
    body = {"metadata": {"name": "node1", "annotations": listed}, "spec": {"podCIDRs": ["10.44.1.0/24"]}}
    assert thing_of(NODES, body) == decode("Node", body)
    odd = read(NODES, {"metadata": {"name": "node1", "annotations": {"vallum.dev/routers": "gw,192.0.2.254"}}})
    assert odd.thing == Node("node1", routers=(ip_address("192.0.2.254"),))
    assert odd.problems == ("metadata.annotations.vallum.dev/routers: `gw` is no address",)


def test_only_pods_of_the_own_node_keep_their_uid():
    body = pod(spec={"nodeName": "node1"})
    body["metadata"]["uid"] = "2f0c"
    here, elsewhere = (read(PODS, body, own).thing for own in ("node1", "node2"))
    assert isinstance(here, Pod)
    assert isinstance(elsewhere, Pod)
    assert (here.uid, elsewhere.uid) == ("2f0c", "")


def test_pods_of_one_template_share_what_is_equal():
    door = Door(PODS, Interned(), "")
    ports = [{"containerPort": 80, "name": "http"}]
    spec = {"nodeName": "node1", "containers": [{"ports": ports}]}
    one, other = (
        door.one(msgspec.json.encode(pod(spec=spec) | {"metadata": pod()["metadata"] | {"name": name}})).thing
        for name in ("web-1", "web-2")
    )
    assert isinstance(one, Pod)
    assert isinstance(other, Pod)
    assert one.labels is other.labels
    assert one.ports is other.ports
    assert one.node is other.node


def test_a_namespace_without_its_name_label_gets_it():
    """Servers before 1.21 did not set it."""
    found = thing_of(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert found == Namespace("shop", (("kubernetes.io/metadata.name", "shop"), ("team", "a")))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("010.0.0.08/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("fd00::1/64", "fd00::/64"),
        ("1.2.3.4", "1.2.3.4/32"),
    ],
)
def test_ranges_that_servers_let_through_mean_what_they_mean_to_servers(text: str, meant: str):
    found = thing_of(POLICIES, policy(ingress=[{"from": [{"ipBlock": {"cidr": text}}]}]))
    assert found.ingress == (PolicyRule((Peer(block=Block(ip_network(meant))),)),)


# What cannot be read allows nothing, and is said.

BLOCK = {"cidr": "10.0.0.0/8"}
NOBODY = (PolicyRule((Peer(),)),)


@pytest.mark.parametrize(
    ("peer", "problem"),
    [
        ({}, "spec.ingress[0].from[0]: this peer is empty and matches nothing"),
        ({"ipBlock": {"cidr": "10.0.0.0/33"}}, "spec.ingress[0].from[0].ipBlock.cidr: `10.0.0.0/33` is no range"),
        ({"ipBlock": {"cidr": "everybody"}}, "from[0].ipBlock.cidr: `everybody` is no range of addresses"),
        ({"ipBlock": BLOCK | {"except": ["10.x.0.0/16"]}}, "from[0].ipBlock.except[0]: `10.x.0.0/16` is no range"),
        ({"ipBlock": BLOCK, "podSelector": {}}, "from[0]: ipBlock beside a selector; this peer matches nothing"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}},
            "from[0].podSelector.matchExpressions[0]: `Gt` with 1 values is not known here",
        ),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}},
            "from[0].namespaceSelector.matchExpressions[0]: `NotIn` with 0 values is not known here",
        ),
    ],
)
def test_a_peer_that_cannot_be_read_is_nobody(peer: dict[str, Any], problem: str):
    found = read(POLICIES, policy(ingress=[{"from": [peer]}]))
    assert isinstance(found.thing, Policy)
    assert found.thing.ingress == NOBODY
    assert problem in found.problems[0]


def test_an_exception_that_cuts_everything_leaves_nobody():
    found = read(POLICIES, policy(ingress=[{"from": [{"ipBlock": BLOCK | {"except": ["10.0.0.0/8"]}}]}]))
    assert isinstance(found.thing, Policy)
    assert found.thing.ingress == NOBODY


def test_an_exception_outside_of_its_block_cuts_nothing():
    body = policy(ingress=[{"from": [{"ipBlock": BLOCK | {"except": ["192.0.2.0/24", "fd00::/8", "10.1.0.0/16"]}}]}])
    block = Block(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),))
    assert thing_of(POLICIES, body).ingress == (PolicyRule((Peer(block=block),)),)


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ({"protocol": "ICMP"}, "the protocol `ICMP` is not known here"),
        ({"port": 70000}, "70000 is no port"),
        ({"port": 0}, "0 is no port"),
        ({"port": "http", "endPort": 90}, "endPort 90 ends no range that begins with port http"),
        ({"port": 90, "endPort": 80}, "endPort 80 ends no range that begins with port 90"),
        ({"endPort": 80}, "endPort 80 ends no range"),
    ],
)
def test_a_port_that_cannot_be_read_allows_nothing(port: dict[str, Any], problem: str):
    found = read(POLICIES, policy(ingress=[{"ports": [port]}]))
    assert isinstance(found.thing, Policy)
    assert found.thing.ingress == (), "no port is not every port"
    assert problem in found.problems[0]
    beside = read(POLICIES, policy(ingress=[{"ports": [port, {"port": 80}]}])).thing
    assert isinstance(beside, Policy)
    assert beside.ingress == (PolicyRule(None, (PolicyPort(TCP, 80),)),)


def test_a_subject_that_cannot_be_read_is_taken_widely_and_closed():
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "v", "operator": "Gt", "values": ["1"]}]}
    found = read(POLICIES, policy(podSelector=selector, ingress=[{}]))
    assert isinstance(found.thing, Policy)
    assert found.thing.pods == Selector((Requirement("app", Operator.IN, ("web",)),))
    assert (found.thing.ingress, found.thing.egress) == ((), None)
    assert found.problems[-1] == "all that it may select is closed"


def test_a_direction_that_cannot_be_read_closes_both():
    found = read(POLICIES, policy(policyTypes=["Ingress", "Sideways"], ingress=[{}]))
    assert isinstance(found.thing, Policy)
    assert (found.thing.ingress, found.thing.egress) == ((), ())
    assert found.problems[0] == "spec.policyTypes: `Sideways` is not known here"


def test_a_policy_of_other_types_closes_all_that_it_may_select():
    found = read(POLICIES, policy(ingress=[{"from": "everybody"}]))
    assert isinstance(found.thing, Policy)
    assert (found.thing.pods, found.thing.ingress, found.thing.egress) == (EVERYTHING, (), ())
    assert (found.space, found.name) == ("shop", "one")
    assert "$.spec.ingress[0].from" in found.problems[0]


def test_a_pod_of_other_types_is_known_by_its_labels():
    found = read(PODS, pod(status={"podIP": 7, "phase": "Running"}))
    assert isinstance(found.thing, Pod)
    assert (found.thing.labels, found.thing.addresses) == ((("app", "web"),), ())
    assert "$.status.podIP" in found.problems[0]


def test_addresses_and_ports_that_cannot_be_read_are_left_out():
    spec = {"containers": [{"ports": [{"containerPort": 80, "protocol": "QUIC"}, {"containerPort": 81}]}]}
    found = read(PODS, pod(spec=spec, status={"podIPs": [{"ip": "10.44.0.x"}, {"ip": "010.44.0.07"}]}))
    assert isinstance(found.thing, Pod)
    assert found.thing.addresses == (ADDRESS,)
    assert [port.number for port in found.thing.ports] == [81]
    assert len(found.problems) == 2
    node = read(NODES, {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.0.0.0/99", "10.44.0.0/24"]}})
    assert isinstance(node.thing, Node)
    assert node.thing.pod_ranges == (ip_network("10.44.0.0/24"),)
    assert node.problems == ("spec.podCIDRs[0]: `10.0.0.0/99` is no range of addresses",)


def test_a_pod_has_one_address_of_each_family():
    ips = [{"ip": text} for text in ("fd44::7", "10.44.0.7", "10.44.0.8", "fd44::8")]
    assert thing_of(PODS, pod(status={"podIPs": ips})).addresses == (ip_address("fd44::7"), ADDRESS)


def test_one_odd_object_does_not_spoil_its_page():
    items = [pod(), pod(status={"podIP": 7}) | {"metadata": {"name": "odd"}}, {"metadata": {"name": 5}}]
    found = list(Door(PODS, Interned(), "").page(msgspec.json.encode({"metadata": {}, "items": items})).objects())
    assert [(each.name, each.thing is None, bool(each.problems)) for each in found] == [
        ("web", False, False),
        ("odd", False, True),
        ("", True, True),
    ]
