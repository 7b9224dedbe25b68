"""Addresses by zone and rack in a real cluster: the store, the agents that live on it, and what becomes of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from ipam.store_contract import StoreContract, Stores
from kube import steps
from traffic import Traffic
from vallum.ipam.records import Block, Host, Record, Stray
from vallum.ipam.verify import verify
from vallum.lab.kube import agents, node, pods
from vallum.lab.kube.client import ApiError, Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import until
from vallum.model.address import pack
from vallum.sources.kube.ipam_bridge import AwayError, opened
from vallum.sources.kube.ipam_store import KubeStore
from vallum.sources.kube.kubeconfig import from_kubeconfig

VERSION = "vallum.dev/v1alpha1"
SPACE = "addresses"
PLURALS = {
    "Network": "networks",
    "Topology": "topologies",
    "Blackout": "blackouts",
    "Host": "hosts",
    "Block": "blocks",
    "Stray": "strays",
}
PLACES = {"node1": {"zone": "z1", "rack": "r1"}, "node2": {"zone": "z2", "rack": "r3"}}
RACKS = {"node1": ("10.200.0.0/18", "fd20::/66"), "node2": ("10.200.128.0/18", "fd20:0:0:0:8000::/66")}
"""The rack of each node, in each network."""
LAYOUT = f"""
apiVersion: {VERSION}
kind: Network
metadata: {{name: four}}
spec: {{cidr: 10.200.0.0/16, blockMask: 29}}
---
apiVersion: {VERSION}
kind: Network
metadata: {{name: six}}
spec: {{cidr: "fd20::/64", blockMask: 124}}
---
apiVersion: {VERSION}
kind: Topology
metadata: {{name: dc}}
spec:
  networks: [four, six]
  map:
    - {{name: z1, assignment: {{zone: z1}}, groups: [{{assignment: {{rack: r1}}}}, {{assignment: {{rack: r2}}}}]}}
    - {{name: z2, assignment: {{zone: z2}}, groups: [{{assignment: {{rack: r3}}}}, {{assignment: {{rack: r4}}}}]}}
"""


def clear(kube: KubeCluster) -> None:
    for kind in PLURALS:
        for each in kube.api.list(VERSION, kind):
            kube.api.delete(VERSION, kind, each["metadata"]["name"])
    left = [kind for kind in PLURALS if kube.api.list(VERSION, kind)]
    assert not left


@pytest.fixture
def stores(kube: KubeCluster) -> Iterator[Stores]:
    clear(kube)
    with ExitStack() as open_:
        yield lambda: KubeStore(open_.enter_context(opened(from_kubeconfig(kube.kubeconfig))))
    clear(kube)


class TestKubeStore(StoreContract):
    """Against the real server, which checks every object by its schema."""


def block(**more: Any) -> Manifest:
    spec = {"network": "n", "cidr": "10.0.0.0/29"} | more
    return {"apiVersion": VERSION, "kind": "Block", "metadata": {"name": "10.0.0.0-29"}, "spec": spec}


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (block(cidr="10.0.0.8/29"), "named after its cidr"),
        (block(cidr="10.0.0.x/29"), "cidr"),
        ({"apiVersion": VERSION, "kind": "Network", "metadata": {"name": "n"}, "spec": {}}, "cidr"),
        ({"apiVersion": VERSION, "kind": "Topology", "metadata": {"name": "t"}, "spec": {"networks": []}}, "networks"),
    ],
)
def test_the_server_refuses_what_one_object_shows_to_be_wrong(kube: KubeCluster, manifest: Manifest, said: str) -> None:
    with pytest.raises(ApiError, match=said) as found:
        kube.api.apply([manifest])
    assert found.value.code == 422


WRITES = [("hosts", "create"), ("hosts", "update")]
WRITES += [("blocks", "create"), ("blocks", "update"), ("blocks", "delete")]
WRITES += [("strays", "create"), ("strays", "delete")]


def role() -> Manifest:
    return next(
        each
        for each in agents.manifests()
        if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "vallum-addresses"
    )


def test_the_role_names_no_more_than_is_tested() -> None:
    verbs = {(resource, verb) for rule in role()["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert verbs == {(each, verb) for each in PLURALS.values() for verb in ("list", "watch")} | set(WRITES)


@pytest.mark.parametrize(("resource", "verb"), WRITES)
def test_each_right_to_write_is_needed_and_named_where_it_is_missing(
    kube: KubeCluster, resource: str, verb: str
) -> None:
    name = f"without-{verb}-{resource}"
    lesser = deepcopy(role())
    lesser["metadata"]["name"] = name
    next(rule for rule in lesser["rules"] if resource in rule["resources"])["verbs"].remove(verb)
    nodes = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    kube.api.apply([{**lesser, "rules": [*lesser["rules"], nodes]}, binding])
    record: dict[str, Record] = {
        "hosts": Host(name="node1"),
        "blocks": Block(network="n", first=pack(ip_address("10.9.0.0")), mask=29, host="node1"),
        "strays": Stray(address=ip_address("10.9.0.9"), host="node1", owner="x"),
    }
    wanted = f'cannot {verb} resource "{resource}"'
    admin, lacking = from_kubeconfig(kube.kubeconfig), from_kubeconfig(kube.user_kubeconfig(name, name))
    with opened(admin) as able, opened(lacking) as unable:
        if verb == "create":
            with pytest.raises(AwayError, match=wanted):
                unable.put(record[resource])
        else:
            made = able.put(record[resource]).record
            with pytest.raises(AwayError, match=wanted):
                unable.put(made) if verb == "update" else unable.remove(made)
            able.remove(made)
    for kind in ("ClusterRoleBinding", "ClusterRole"):
        kube.api.delete("rbac.authorization.k8s.io/v1", kind, name)


# Agents


@pytest.fixture(scope="module")
def site(kube: KubeCluster) -> Iterator[KubeCluster]:
    """Nodes in their racks, a layout by kubectl, and agents that take addresses from it."""
    clear(kube)
    for name, marks in PLACES.items():
        kube.api.merge("v1", "Node", name, {"metadata": {"labels": marks}})
    applied = kube.kubectl("apply", "-f", "-", stdin=LAYOUT)
    assert applied.code == 0, applied.err
    with ExitStack() as open_:
        for place in kube.layouts:
            usual = kube.agents[place.name]
            words = (*usual.words, "--ipam", "cluster", "--ledger", str(place.folder / "vallum" / "ledger"))
            open_.enter_context(steps.instead(kube, place.name, replace(usual, words=words, _process=None)))
            steps.healthy(kube, place.name)
        until(lambda: set(hosts(kube)) == set(PLACES), steps.PATIENCE, lambda: f"{hosts(kube)}")
        kube.api.apply([pods.namespace(SPACE)])
        yield kube
        for each in kube.api.list("v1", "Pod", SPACE):
            kube.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)
        kube.api.delete("v1", "Namespace", SPACE)
        until(lambda: not kube.api.list("v1", "Pod", SPACE), steps.PATIENCE, lambda: "pods stay")
    for name in PLACES:
        kube.api.merge("v1", "Node", name, {"metadata": {"labels": {"zone": None, "rack": None}}})
    clear(kube)


def hosts(kube: KubeCluster) -> dict[str, Any]:
    return {each["metadata"]["name"]: each["spec"] for each in kube.api.list(VERSION, "Host")}


def blocks(kube: KubeCluster, host: str) -> list[str]:
    found = kube.api.list(VERSION, "Block")
    return sorted(each["spec"]["cidr"] for each in found if each["spec"].get("host") == host)


def made(name: str, place: str, count: int = 1) -> list[Manifest]:
    return [pods.pod(f"{name}{number}", ["TCP/80"], space=SPACE, node=place) for number in range(count)]


def started(kube: KubeCluster, wanted: list[Manifest]) -> list[Manifest]:
    kube.api.apply(wanted)
    return kube.wait_ready(wanted)


def used(kube: KubeCluster) -> list[str]:
    """The addresses of every pod there is."""
    every = kube.api.list("v1", "Pod", SPACE)
    return [one["ip"] for each in every for one in each.get("status", {}).get("podIPs", [])]


def test_pods_are_in_the_rack_of_their_node_and_reach_each_other(site: KubeCluster) -> None:
    found = {name: started(site, made(f"on-{name}-", name, 3)) for name in PLACES}
    for name, ready in found.items():
        for pod in ready:
            for address, rack in zip(steps.addresses(pod), RACKS[name], strict=True):
                assert ip_address(address) in ip_network(rack)
    there = [one for pod in found["node2"] for each in steps.addresses(pod) for one in steps.targets(each, 80, "TCP")]
    steps.eventually_reached(site, found["node1"][0], there)
    assert not [status for name in PLACES if (status := steps.status(site, name)["problems"])]


def test_kubectl_shows_who_has_what(site: KubeCluster) -> None:
    started(site, made("shown", "node1"))
    said = {
        kind: site.kubectl("get", PLURALS[kind]).out.splitlines() for kind in ("Network", "Topology", "Host", "Block")
    }
    assert said["Network"][0].split() == ["NAME", "CIDR", "BLOCK", "ORDER", "TENANTS", "AGE"]
    assert said["Network"][1].split()[:3] == ["four", "10.200.0.0/16", "29"]
    assert said["Topology"][1].split()[:2] == ["dc", '["four","six"]']
    assert said["Host"][1].split()[:3] == ["node1", "four", "0/0"]
    assert [line for line in said["Block"] if line.split()[:4] == ["10.200.0.0-29", "10.200.0.0/29", "node1", "four"]]


def test_what_is_in_use_is_published_and_holds_together(site: KubeCluster) -> None:
    started(site, made("told", "node1"))

    def missing() -> set[str]:
        with opened(from_kubeconfig(site.kubeconfig)) as remote:
            state = KubeStore(remote).state()
        assert not verify(state)
        return {each for each in used(site) if state.holder(pack(ip_address(each))) is None}

    until(lambda: not missing(), steps.PATIENCE, lambda: f"not published: {missing()}")


def test_an_agent_that_is_killed_amid_twenty_adds_gives_no_address_twice(site: KubeCluster) -> None:
    wanted = made("many", "node1", 20)
    agent = site.agents["node1"]
    site.api.apply(wanted)
    for share in (3, 10):
        until(
            lambda share=share: len(attached(site, "many")) >= share,
            steps.PATIENCE,
            lambda: f"{len(attached(site, 'many'))}",
        )
        agent.stop(signal.SIGKILL)
        agent.start()
    site.wait_ready(wanted)
    assert len(set(used(site))) == len(used(site))
    for each in wanted:
        site.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)
    site.wait_gone(wanted)


def placed(kube: KubeCluster, name: str) -> bool:
    return steps.status(kube, name).get("problems") == []


@pytest.mark.stance(20)
def test_an_agent_that_is_killed_loses_and_leaks_no_packet(site: KubeCluster) -> None:
    """Whose ranges are which is not known at once when it starts again; the routes stand until it is."""
    space = "addressed"
    with steps.namespace(site, space):
        guard = steps.policy("guard", space, {"role": "server"}, [{"from": [steps.pods_with(role="friend")]}])
        steps.hold(site, guard)
        wanted = [
            pods.pod(f"{role}{number}", space=space, node=f"node{number}", labels={"role": role})
            for role, number in (("server", 1), ("friend", 2), ("stranger", 2))
        ]
        site.api.apply(wanted)
        server, friend, stranger = site.wait_ready(wanted)
        flows = [
            steps.flow("udp", "udp", (friend, server), 5000),
            steps.flow("udp6", "udp6", (friend, server), 5000),
            steps.flow("udp denied", "udp", (stranger, server), 5002),
        ]
        with Traffic(flows) as traffic:
            for name in PLACES:
                site.agents[name].stop(signal.SIGKILL)
                site.agents[name].start()
                steps.healthy(site, name)
                ready = f"{name} knows its place"
                until(
                    lambda name=name: steps.status(site, name).get("problems") == [], steps.PATIENCE, lambda r=ready: r
                )
            assert steps.wrong(traffic.stop(), 1000) == []


def attached(kube: KubeCluster, prefix: str) -> dict[str, str]:
    """The pods of a name that node1 holds, with their links."""
    found = steps.status(kube, "node1").get("pods", {})
    return {pod: link for pod, link in found.items() if link and pod.startswith(f"{SPACE}/{prefix}")}


def typed(kube: KubeCluster, *words: str) -> tuple[int, str]:
    """`vallum ipam WORDS` of an administrator: status, and what was said."""
    run = [sys.executable, "-m", "vallum", "ipam", *words, "--kubeconfig", str(kube.kubeconfig)]
    found = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    return found.returncode, found.stdout + found.stderr


def fine(kube: KubeCluster, *words: str) -> Any:
    status, said = typed(kube, *words, "-o", "json")
    assert status == 0, said
    return json.loads(said)


def test_the_commands_keep_a_host_that_is_no_node_and_leave_nodes_to_their_agents(site: KubeCluster) -> None:
    (pod,) = started(site, made("typed", "node1"))
    (mine, _) = steps.addresses(pod)
    until(lambda: fine(site, "show", mine)["host"] == "node1", steps.PATIENCE, lambda: "its address is not told")
    for words in (("allocate", "node1", "x"), ("free", mine), ("hosts", "remove", "node1", "--with-addresses")):
        status, said = typed(site, *words)
        assert (status, "Host node1: is a node of this cluster" in said) == (2, True), said
    place = [word for pair in PLACES["node1"].items() for word in ("--label", "=".join(pair))]
    fine(site, "hosts", "add", "vm", *place)
    try:
        kept = set(fine(site, "allocate", "vm", "disk")["addresses"])
        assert all(
            ip_address(each) in ip_network(rack) for each, rack in zip(sorted(kept), RACKS["node1"], strict=True)
        )
        started(site, made("beside-vm", "node1", 10))
        assert len(set(used(site))) == len(used(site))
        assert not kept & set(used(site))
        assert fine(site, "free", "disk")["freed"] == "disk"
    finally:
        fine(site, "hosts", "remove", "vm", "--with-addresses")
    assert set(hosts(site)) == set(PLACES)
    assert not verify_rules(site)


def verify_rules(kube: KubeCluster) -> set[str]:
    """What `verify` finds."""
    return {each["rule"] for each in json.loads(typed(kube, "verify", "-o", "json")[1])}


def test_a_layout_that_a_command_sets_is_taken_by_every_agent(site: KubeCluster, tmp_path: Path) -> None:
    started(site, made("laid", "node1"))
    before, new = tmp_path / "before.yaml", tmp_path / "new.yaml"
    before.write_text(typed(site, "topology", "export")[1])
    new.write_text(LAYOUT.replace("{assignment: {rack: r1}}, {assignment: {rack: r2}}", "{assignment: {rack: r1}}"))
    assert not fine(site, "topology", "plan", str(new))["moves"]
    fine(site, "topology", "set", str(new))
    fine(site, "blackout", "add", "10.200.0.0/24")
    try:
        (pod,) = started(site, made("kept-clear", "node1"))
        until(
            lambda: not [each for name in PLACES for each in steps.status(site, name)["problems"]],
            steps.PATIENCE,
            lambda: "an agent refuses the layout",
        )
        spared = site.api.get("vallum.dev/v1alpha1", "Topology", "dc")["spec"]["map"][0]["groups"]
        assert spared == [{"assignment": {"rack": "r1"}}, {"spare": True}]
        (late,) = started(site, made("late", "node1"))
        assert ip_address(steps.addresses(late)[0]) not in ip_network("10.200.0.0/24")
        assert pod
    finally:
        fine(site, "blackout", "remove", "10.200.0.0/24")
        fine(site, "topology", "set", str(before))
    assert fine(site, "topology", "plan", str(before))["changed"] == []


def test_while_the_api_is_away_a_pod_gets_its_new_sandbox_from_the_blocks_that_are_there(site: KubeCluster) -> None:
    (pod,) = started(site, made("again", "node1"))
    before = attached(site, "again")
    server = site.control["kube-apiserver"]
    server.stop(signal.SIGKILL)
    try:
        pause = next(pid for pid, words in steps.processes(pod).items() if "pause" in words)
        os.kill(pause, signal.SIGKILL)
        until(
            lambda: len(now := attached(site, "again")) == 1 and now != before,
            steps.PATIENCE,
            lambda: f"{attached(site, 'again')} as {before}: {site.agents['node1'].said()}",
        )
    finally:
        server.start()
        server.await_(site.api.ready, 60)
    until(site.nodes_ready, steps.PATIENCE, lambda: "nodes are not ready again")


def test_a_deleted_node_gives_its_place_and_its_blocks_back(site: KubeCluster) -> None:
    started(site, made("last", "node2"))
    place = site.layouts[1]
    assert blocks(site, "node2")
    site.agents["node2"].stop()
    site.nodes["node2"].kubelet.stop()
    site.api.delete("v1", "Node", "node2")
    try:
        until(lambda: "node2" not in hosts(site), steps.PATIENCE, lambda: "its Host stays")
        until(lambda: not blocks(site, "node2"), steps.PATIENCE, lambda: f"{blocks(site, 'node2')} stay")
        assert blocks(site, "node1")
    finally:
        fresh = node.manifest(place)
        fresh["metadata"]["labels"] |= PLACES["node2"]
        site.api.apply([fresh])
        site.nodes["node2"].kubelet.start()
        site.agents["node2"].start()
    until(site.nodes_ready, steps.PATIENCE, lambda: "the node is not Ready again")
    until(lambda: "node2" in hosts(site), steps.PATIENCE, lambda: "its Host does not come again")
    (pod,) = started(site, made("first", "node2"))
    assert ip_address(steps.addresses(pod)[0]) in ip_network(RACKS["node2"][0])


def test_a_layout_that_would_strand_pods_is_refused_and_said(site: KubeCluster) -> None:
    (pod,) = started(site, made("stays", "node1"))
    site.kubectl("patch", "network", "four", "--type=merge", "-p", json.dumps({"spec": {"blockMask": 28}}))
    try:
        until(
            lambda: any("are not taken" in each for each in steps.status(site, "node1")["problems"]),
            steps.PATIENCE,
            lambda: f"{steps.status(site, 'node1')['problems']}",
        )
        (other,) = started(site, made("goes-on", "node1"))
        assert steps.addresses(other) != steps.addresses(pod)
    finally:
        site.kubectl("patch", "network", "four", "--type=merge", "-p", json.dumps({"spec": {"blockMask": 29}}))
    until(lambda: not steps.status(site, "node1")["problems"], steps.PATIENCE, lambda: "it is still refused")
