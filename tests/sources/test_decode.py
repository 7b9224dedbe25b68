"""What manifests mean: defaults, every peer and port form, pods, workloads, nodes; and nothing makes it crash."""

from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vallum.model.errors import InputErrors
from vallum.model.objects import (
    SCTP,
    TCP,
    UDP,
    Block,
    NamedPort,
    Namespace,
    Node,
    Object,
    Peer,
    Pod,
    PodId,
    Policy,
    PolicyId,
    PolicyPort,
    PolicyRule,
)
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.sources.manifest import Manifest, read_manifest
from vallum.sources.world import assemble

WEB = Selector((Requirement("app", Operator.IN, ("web",)),))
POLICY: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "p", "namespace": "shop", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                ],
                "ports": [{"port": "http"}, {"protocol": "UDP", "port": 90, "endPort": 100}],
            }
        ],
        "egress": [{"to": [{"podSelector": {}}]}],
    },
}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {
        "nodeName": "node1",
        "hostNetwork": False,
        "initContainers": [
            {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9, "protocol": "SCTP"}]},
            {"ports": [{"name": "once", "containerPort": 10}]},
        ],
        "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]}],
    },
    "status": {"phase": "Running", "podIP": "10.44.1.5", "podIPs": [{"ip": "10.44.1.5"}, {"ip": "fd44::5"}]},
}


def read(text: str) -> Manifest:
    return read_manifest("a.yaml", text.encode())


def only(text: str) -> Object | None:
    manifest = read(text)
    assert manifest.errors == ()
    (document,) = manifest.documents
    return document.thing


def policy(spec: str) -> Policy:
    head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
    thing = only(f"{head}spec: {spec}\n")
    assert isinstance(thing, Policy)
    return thing


def errors(text: str) -> list[str]:
    return [str(error) for error in read(text).errors]


def test_a_policy_with_every_form_is_read() -> None:
    peers = (
        Peer(WEB, EVERYTHING),
        Peer(block=Block(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),))),
    )
    assert only(yaml.safe_dump(POLICY)) == Policy(
        PolicyId("shop", "p"),
        Selector((Requirement("app", Operator.IN, ("api", "web")),)),
        (PolicyRule(peers, (PolicyPort(TCP, "http"), PolicyPort(UDP, 90, 100))),),
        (PolicyRule((Peer(EVERYTHING),)),),
    )


def test_json_is_read_like_yaml_with_its_escapes() -> None:
    text = '{\n\t"apiVersion": "v1", "kind": "Namespace",\n\t"metadata": {"name": "shop", "annotations": {"a": "%s"}}}'
    manifest = read(text % r"\ud83d\ude00 \/ \\ud83d\\ude00")
    assert manifest.errors == ()
    assert manifest.documents[0].body["metadata"]["annotations"] == {"a": "\U0001f600 / \\ud83d\\ude00"}


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ("{podSelector: {}}", (), None),
        ("{podSelector: {}, policyTypes: []}", (), None),
        ("{podSelector: {}, egress: []}", (), None),
        ("{podSelector: {}, egress: [{}]}", (), (PolicyRule(),)),
        ("{podSelector: {}, ingress: [{}]}", (PolicyRule(),), None),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", None, ()),
        ("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", (), None),
        ("{podSelector: {}, ingress: null, policyTypes: [Egress, Ingress]}", (), ()),
    ],
)
def test_missing_policy_types_mean_ingress_and_egress_only_with_egress_rules(
    spec: str, ingress: Any, egress: Any
) -> None:
    assert (policy(spec).ingress, policy(spec).egress) == (ingress, egress)


@pytest.mark.parametrize("rule", ["{}", "{from: [], ports: []}", "{from: null, ports: null}"])
def test_missing_or_empty_lists_of_a_rule_mean_any(rule: str) -> None:
    assert policy(f"{{podSelector: {{}}, ingress: [{rule}]}}").ingress == (PolicyRule(None, None),)


def test_a_missing_protocol_is_tcp_and_a_missing_port_is_every_port() -> None:
    found = policy("{ingress: [{ports: [{}, {protocol: SCTP}, {port: 80}]}]}").ingress
    assert found == (PolicyRule(None, (PolicyPort(TCP), PolicyPort(SCTP), PolicyPort(TCP, 80))),)


def test_a_missing_pod_selector_selects_all_and_an_absent_selector_is_not_an_empty_one() -> None:
    found = policy("{ingress: [{from: [{namespaceSelector: {}}, {podSelector: {}}]}]}")
    assert found.pods == EVERYTHING
    assert found.ingress == (PolicyRule((Peer(None, EVERYTHING), Peer(EVERYTHING))),)


def test_selectors_are_sorted_so_that_equal_ones_are_equal() -> None:
    one = "{matchLabels: {b: w, a: x}, matchExpressions: [{key: c, operator: NotIn, values: [q, p, q]}]}"
    other = (
        "{matchExpressions: [{key: c, operator: NotIn, values: [p, q]}, {key: a, operator: In, values: [x]}],"
        " matchLabels: {b: w}}"
    )
    assert policy(f"{{podSelector: {one}}}").pods == policy(f"{{podSelector: {other}}}").pods


def test_a_pod_has_the_ports_of_containers_and_of_init_containers_that_stay() -> None:
    assert only(yaml.safe_dump(POD)) == Pod(
        PodId("shop", "web"),
        (("app", "web"),),
        "node1",
        (ip_address("10.44.1.5"), ip_address("fd44::5")),
        (NamedPort("", TCP, 81), NamedPort("http", TCP, 80), NamedPort("side", SCTP, 9)),
    )


@pytest.mark.parametrize(
    ("phase", "finished"), [("Succeeded", True), ("Failed", True), ("Running", False), ("Pending", False)]
)
def test_a_pod_is_finished_in_two_phases(phase: str, finished: bool) -> None:
    thing = only(yaml.safe_dump(POD | {"status": {"phase": phase}}))
    assert isinstance(thing, Pod)
    assert thing.finished is finished


def test_one_pod_ip_is_enough_and_fields_of_others_are_left_alone() -> None:
    thing = only(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: x}\n"
        "spec: {volumes: [], hostname: a, hostIPC: true, nodeSelector: {a: b}, containers: [{image: x, env: []}]}\n"
        "status: {podIP: 'fd44::5', hostIP: 192.0.2.1, hostIPs: [{ip: 192.0.2.1}]}\n"
    )
    assert thing == Pod(PodId("default", "a"), addresses=(ip_address("fd44::5"),))


@pytest.mark.parametrize(
    ("api", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ],
)
def test_a_workload_stands_for_one_pod_of_its_name(api: str, kind: str) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": POD["spec"] | {"hostNetwork": True}}
    spec: dict[str, Any] = {"template": template, "replicas": 3, "selector": {}}
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": spec}}
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": "web", "labels": {"not": "these"}}, "spec": spec}
    assert only(yaml.safe_dump(body)) == Pod(
        PodId("default", "web"),
        (("app", "web"),),
        "node1",
        (),
        (NamedPort("", TCP, 81), NamedPort("http", TCP, 80), NamedPort("side", SCTP, 9)),
        host_network=True,
        owner=f"{kind}/web",
    )


@pytest.mark.parametrize(
    ("owners", "labels_", "owner"),
    [
        ([{"kind": "ReplicaSet", "name": "web-5d4f"}], {"pod-template-hash": "5d4f"}, "Deployment/web"),
        ([{"kind": "ReplicaSet", "name": "web-5d4f"}], {}, "ReplicaSet/web-5d4f"),
        ([{"kind": "ReplicaSet", "name": "web"}], {"pod-template-hash": "5d4f"}, "ReplicaSet/web"),
        ([{"kind": "StatefulSet", "name": "db"}], {}, "StatefulSet/db"),
        ([{"kind": "A", "name": "a"}, {"kind": "B", "name": "b", "controller": True}], {}, "B/b"),
        ([], {}, ""),
    ],
)
def test_the_owner_of_a_pod_is_its_workload(owners: list[Any], labels_: dict[str, str], owner: str) -> None:
    meta = {"name": "web-5d4f-x", "labels": labels_, "ownerReferences": owners}
    thing = only(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": meta}))
    assert isinstance(thing, Pod)
    assert thing.owner == owner


def test_a_node_has_ranges_and_every_address_that_is_local_to_it() -> None:
    assert only(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: node1\n  labels: {zone: a}\n"
        "  annotations: {vallum.dev/local-addresses: '169.254.20.10, fd00::1,192.0.2.1'}\n"
        "spec: {podCIDR: 10.44.1.0/24, podCIDRs: [10.44.1.0/24, 'fd44:0:0:1::/64'], taints: []}\n"
        "status:\n  addresses:\n    - {type: InternalIP, address: 192.0.2.1}\n"
        "    - {type: Hostname, address: node1}\n    - {type: ExternalIP, address: '2001:db8::1'}\n"
    ) == Node(
        "node1",
        (("zone", "a"),),
        tuple(map(ip_address, ("192.0.2.1", "2001:db8::1", "169.254.20.10", "fd00::1"))),
        (ip_network("10.44.1.0/24"), ip_network("fd44:0:0:1::/64")),
    )


def test_a_node_has_groups_routers_and_more_ranges_than_the_two_of_its_spec() -> None:
    assert only(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: node1\n  annotations:\n"
        "    vallum.dev/pod-ranges: '10.44.9.0/28, 10.44.9.32/28'\n"
        "    vallum.dev/groups: '10.44.0.0/16,10.44.8.0/21'\n"
        "    vallum.dev/routers: '192.0.2.254, fd00::fe'\n"
        "spec: {podCIDR: 10.44.1.0/24}\n"
    ) == Node(
        "node1",
        pod_ranges=tuple(map(ip_network, ("10.44.1.0/24", "10.44.9.0/28", "10.44.9.32/28"))),
        groups=(ip_network("10.44.0.0/16"), ip_network("10.44.8.0/21")),
        routers=(ip_address("192.0.2.254"), ip_address("fd00::fe")),
    )


def test_a_namespace_always_has_its_name_label() -> None:
    thing = only("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n")
    assert thing == Namespace("shop", (("kubernetes.io/metadata.name", "shop"), ("team", "a")))


def test_a_list_is_unfolded_and_typed_lists_type_their_items() -> None:
    item = "{metadata: {name: %s, namespace: shop}}"
    items = f"[{item % 'a'}, {item % 'b'}]"
    typed = read(f"apiVersion: v1\nkind: PodList\nitems: {items}\n")
    assert typed.errors == ()
    assert [str(document.thing.id) for document in typed.documents if isinstance(document.thing, Pod)] == [
        "shop/a",
        "shop/b",
    ]
    nested = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "List", "items": [POD]}]}
    assert [document.body for document in read(yaml.safe_dump(nested)).documents] == [POD]
    assert read("apiVersion: v1\nkind: List\nitems:\n") == Manifest()


def test_services_are_checked_and_kept_but_are_no_objects() -> None:
    manifest = read("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n")
    assert [document.thing for document in manifest.documents] == [None]
    assert "port: 70000" not in errors("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n")


def test_kinds_that_are_not_used_are_skipped_and_counted() -> None:
    text = "apiVersion: {}\nkind: {}\nmetadata: {{name: whatever IT is}}\n"
    kinds = [
        ("v1", "Secret"),
        ("v1", "Secret"),
        ("stable.example.com/v1", "CronTab"),
        ("serving.knative.dev/v1", "Pods"),
    ]
    manifest = read("---\n".join(text.format(*kind) for kind in kinds))
    assert assemble([manifest], "r").skipped == {"CronTab": 1, "Pods": 1, "Secret": 2}


def test_all_errors_of_a_file_are_found_at_once_and_in_order() -> None:
    found = errors(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: A, labels: {a: 1}}\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\nspecs: 1\n---\n[\n"
    )
    assert [line.split(": ")[0] for line in found] == [
        "a.yaml:3:18",
        "a.yaml:3:33",
        "a.yaml:7:18",
        "a.yaml:8:1",
        "a.yaml:11:1",
    ]


def test_documents_hold_the_body_as_it_was_written() -> None:
    assert read(yaml.safe_dump(POD)).documents[0].body == POD


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
KEYS = st.sampled_from(["from", "to", "ports", "port", "cidr", "ipBlock", "name", "spec", "key"]) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, item in items for path in paths(item, (*here, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied: Any = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]}},
}
NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node1", "annotations": {"vallum.dev/local-addresses": "10.0.0.1"}},
    "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
}
PLACES = [(body, path) for body in (POLICY, POD, NODE, DEPLOYMENT, SERVICE) for path in paths(body)]


def decoded_or_refused(text: str) -> None:
    manifest = read(text)
    for error in manifest.errors:
        assert "\n" not in str(error)
        assert str(error).startswith("a.yaml:")
    with suppress(InputErrors):
        assemble([manifest], "r")


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_is_decoded_or_refused(place: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    body, path = place
    decoded_or_refused(yaml.safe_dump(put(body, path, value)))


@given(st.sampled_from(PLACES), KEYS, VALUES)
def test_any_key_anywhere_is_decoded_or_refused(place: tuple[Any, tuple[Any, ...]], key: str, value: Any) -> None:
    body, path = place
    found = body
    for step in path:
        found = found[step]
    if isinstance(found, dict):
        decoded_or_refused(yaml.safe_dump(put(body, path, found | {key: value})))


@given(st.integers(0, 10_000), st.text(max_size=6), st.integers(0, 20))
def test_any_text_cut_and_pasted_into_a_manifest_is_decoded_or_refused(at: int, new: str, cut: int) -> None:
    text = yaml.safe_dump(POLICY)
    at %= len(text)
    decoded_or_refused((text[:at] + new + text[at + cut :]).encode(errors="replace").decode())


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    read_manifest("a.yaml", data)
