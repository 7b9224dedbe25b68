"""`vallum ipam` on the objects of a cluster: what it shows and changes there, and what it leaves to the agents."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.ipam_site import GROUP, RACKS, ZONES, Site, cluster
from kubeipam import NODES
from vallum.cli import main
from vallum.lab.bench.fakeapi import Answer, Request, status


class Typed:
    """Runs `vallum ipam WORDS --cluster`: status, what it printed, what it said on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str, program: str = "vallum") -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", [program, "ipam", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    def fine(self, *words: str) -> str:
        code, out, err = self(*words, "--cluster")
        assert (code, err) == (0, ""), err
        return out

    def refused(self, *words: str) -> str:
        code, out, err = self(*words, "--cluster")
        assert (code, out, err.count("\n")) == (2, "", 1), out + err
        return err

    def data(self, *words: str) -> Any:
        return json.loads(self(*words, "--cluster", "-o", "json")[1])


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(capsys, monkeypatch)


@pytest.fixture
def site(tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The zones of the examples, two nodes in two racks, each with a pod."""
    with cluster(tmp_path) as found:
        monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig))
        monkeypatch.setenv("VALLUM_LEDGER", str(tmp_path / "none"))
        typed.fine("topology", "set", str(ZONES))
        for name, marks in RACKS.items():
            found.join(name, **marks)
        yield found


# Which store


def test_the_cluster_is_named_by_a_kubeconfig_or_found_as_kubectl_finds_it(
    site: Site, typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = typed.fine("hosts")
    assert typed("hosts", program="/usr/local/bin/kubectl-vallum")[1] == drawn
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert typed("hosts", "--kubeconfig", str(site.kubeconfig))[1] == drawn
    assert "KUBECONFIG is not set" in typed.refused("hosts")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert "token: is not there; run in a pod with a service account" in typed.refused("hosts")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    site.kubeconfig.rename(tmp_path / "home" / ".kube" / "config")
    assert typed.fine("hosts") == drawn


@pytest.mark.usefixtures("site")
def test_without_being_told_the_ledger_is_meant(typed: Typed) -> None:
    assert "no ledger is here" in typed("show")[2]


@pytest.mark.usefixtures("site")
def test_a_ledger_and_a_cluster_are_not_both_meant(typed: Typed) -> None:
    assert "give one of them" in typed.refused("show", "--ledger", "x")
    assert "no ledger is here" in typed("show", "--ledger", "x", program="kubectl-vallum")[2]


def test_an_api_that_is_away_or_knows_no_addresses_is_named_in_one_line(site: Site, typed: Typed) -> None:
    def without(request: Request) -> Answer | None:
        return status(404, "the server could not find the requested resource") if GROUP in request.path else None

    site.api.do(lambda: setattr(site.api.api, "rule", without))
    assert "apply deploy/crds.yaml" in typed.refused("show")
    site.api.do(lambda: setattr(site.api.api, "rule", lambda _: status(403, "user x cannot list networks")))
    assert "user x cannot list networks" in typed.refused("show")
    site.api.do(site.api.api._server.close)  # type: ignore[union-attr]
    site.api.do(site.api.api.cut)
    assert site.api.api.url in typed.refused("show")


# Showing


@pytest.mark.usefixtures("site")
def test_hosts_blocks_and_addresses_are_those_that_the_agents_told(typed: Typed) -> None:
    assert [(each["name"], each["inUse"]) for each in typed.data("hosts")] == [
        ("n1", 0), ("n2", 0), ("node1", 1), ("node2", 1),
    ]  # fmt: skip
    assert [(each["cidr"], each["host"]) for each in typed.data("blocks")] == [
        ("10.64.0.0/27", "node1"), ("10.65.0.0/27", "node2"),
    ]  # fmt: skip
    found = typed.data("show", "10.65.0.0")
    assert (found["group"], found["host"], found["owner"]) == ("z1 / rack=r2", "node2", "eth0.on-node2")
    assert typed.data("show")["networks"][0]["used"] == 2
    assert typed.fine("verify").startswith("0 findings: 4 hosts, 2 blocks, 2 addresses in use")
    assert "rack=r2  10.65.0.0/16      rack=r2           node2" in typed.fine("topology")


@pytest.mark.usefixtures("site")
def test_pods_are_held_against_what_the_agents_told(typed: Typed, tmp_path: Path) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": "node1", "containers": []},
    }
    (tmp_path / "pods.json").write_text(json.dumps({**body, "status": {"podIP": "10.64.0.9"}}))
    found = typed.data("verify", "--pods", str(tmp_path / "pods.json"))
    assert [(each["rule"], each["place"]) for each in found] == [
        ("unknown", "address 10.64.0.9"), ("lost", "address 10.64.0.0"), ("lost", "address 10.65.0.0"),
    ]  # fmt: skip


def test_a_layout_that_agents_refuse_is_said_and_verify_and_export_still_tell_all(site: Site, typed: Typed) -> None:
    site.put("topologies", "Topology", "late", networks=["missing"], map=[{}])
    said = "Topology late networks: no network is named missing"
    for words in (("show",), ("hosts",), ("topology", "plan", str(ZONES)), ("hosts", "add", "h")):
        err = typed.refused(*words)
        assert said in err
        assert "agents keep the last good layout" in err
    assert said in typed("verify", "--cluster")[1]
    assert "name: late" in typed.fine("export")


def test_a_tree_that_cannot_be_drawn_is_an_error_not_a_crash(site: Site, typed: Typed) -> None:
    site.put("networks", "Network", "tiny", cidr="10.99.0.0/31")
    site.put("topologies", "Topology", "tiny", networks=["tiny"], map=[{}, {}, {}])
    for name in ("show", "verify"):
        assert "do not fit into 10.99.0.0/31; mend it with kubectl" in typed.refused(name)


def test_a_host_and_a_block_that_the_layout_has_no_room_for_do_not_hide_the_others(site: Site, typed: Typed) -> None:
    site.put("hosts", "Host", "behind", places=[{"network": "old", "path": "0"}, {"network": "prod", "path": "7"}])
    site.put("blocks", "Block", "10.1.0.0-29", network="old", cidr="10.1.0.0/29", host="behind")
    assert typed.data("hosts")[0] == {
        "name": "behind", "labels": {}, "addresses": [], "places": [], "blocks": [], "inUse": 0,
    }  # fmt: skip
    assert len(typed.data("blocks")) == 2
    typed.fine("show")
    typed.fine("topology")
    assert "2 hosts" not in typed.fine("topology", "plan", str(ZONES))
    assert {each["rule"] for each in typed.data("verify")} == {"misplaced", "no-network"}


# Layouts


def test_a_new_layout_and_a_blackout_reach_the_agents(site: Site, typed: Typed, tmp_path: Path) -> None:
    more = ZONES.read_text().replace("reserved", "").replace("/14, blockMask: 27", "/14, blockMask: 27, order: 3")
    (tmp_path / "more.yaml").write_text(more)
    before = site.everything()
    assert "would be changed: Network prod" in typed.fine("topology", "set", str(tmp_path / "more.yaml"), "--dry-run")
    assert site.everything() == before
    typed.fine("topology", "set", str(tmp_path / "more.yaml"))
    typed.fine("blackout", "add", "10.64.0.0/30")
    node = site.nodes["node1"]
    node.news()
    assert (node.store.problem, node.store.state().networks["prod"].order) == ("", 3)
    assert node.add("next") == "10.64.0.4"
    assert typed.data("blackout") == [{"cidr": "10.64.0.0/30", "inUse": ["10.64.0.0"]}]
    typed.fine("blackout", "remove", "10.64.0.0/30")
    assert site.everything()["blackouts"] == []


def test_a_layout_that_strands_a_pod_is_refused_and_touches_nothing(site: Site, typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "less.yaml").write_text(ZONES.read_text().replace("blockMask: 27", "blockMask: 28"))
    before = site.everything()
    assert "2 of its addresses are in use; drain it first" in typed.refused(
        "topology", "set", str(tmp_path / "less.yaml")
    )
    assert site.everything() == before


def test_a_host_that_a_layout_moves_is_moved_by_its_agent_and_one_without_an_agent_at_once(
    site: Site, typed: Typed, tmp_path: Path
) -> None:
    node = site.nodes["node2"]
    node.delete("eth0.on-node2")
    node.keep()
    typed.fine("hosts", "add", "vm", "--label", "zone=z1", "--label", "rack=r2")
    text = ZONES.read_text().replace("        - assignment: {rack: r2}\n", "").replace("r3}", "r2}")
    (tmp_path / "new.yaml").write_text(text.replace("{zone: z2}", "{zone: z1}").replace("name: z2", "name: z3"))
    planned = typed.data("topology", "plan", str(tmp_path / "new.yaml"))
    assert {each["host"] for each in planned["moves"]} == {"node2", "vm"}
    assert [each["metadata"]["name"] for each in planned["changed"] if each["kind"] == "Host"] == ["vm"]
    typed.fine("topology", "set", str(tmp_path / "new.yaml"))
    places = {each["name"]: [place["cidr"] for place in each["places"]] for each in typed.data("hosts")}
    assert places["vm"] == ["10.66.0.0/16"]
    node.news()
    assert node.store.problem == ""
    assert "+ Host node2" in node.keep()
    assert node.add("again") == "10.66.0.0"


# Whose they are


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("allocate", "node1", "x"), "start a pod there"),
        (("hosts", "add", "node1"), "its agent has it join"),
        (("hosts", "label", "node1", "disk=ssd", "spot-"), "kubectl label node node1 disk=ssd spot-"),
        (("hosts", "remove", "node1"), "kubectl delete node node1"),
        (("hosts", "remove", "node1", "--with-addresses"), "kubectl delete node node1"),
        (("free", "10.64.0.0"), "kubectl delete pod"),
        (("free", "10.64.0.9"), "kubectl delete pod"),
        (("free", "eth0.on-node1"), "kubectl delete pod"),
        (("free", "not-told-yet", "--host", "node1"), "kubectl delete pod"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, tuple) else "",
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_is_a_nodes_is_its_agents_to_change(
    site: Site, typed: Typed, words: tuple[str, ...], dry: tuple[str, ...], cure: str
) -> None:
    before = site.everything()
    err = typed.refused(*words, *dry)
    assert "Host node1: is a node of this cluster, and its agent's to change; " in err
    assert cure in err
    assert site.everything() == before


def test_a_host_that_is_no_node_is_kept_by_hand_and_agents_keep_clear_of_it(site: Site, typed: Typed) -> None:
    typed.fine("hosts", "add", "vm", "--label", "zone=z1", "--label", "rack=r1")
    assert "10.64.0.32 for disk on vm" in typed.fine("allocate", "vm", "disk", "--dry-run")
    assert typed.data("blocks", "--host", "vm") == []
    assert typed.data("allocate", "vm", "disk")["addresses"] == ["10.64.0.32"]
    typed.fine("hosts", "label", "vm", "disk=ssd")
    node = site.nodes["node1"]
    node.news()
    given = [node.add(f"p{number}") for number in range(32)]
    assert given[-1] == "10.64.0.64"
    assert typed("free", "nobody", "--cluster")[0] == 1
    typed.fine("free", "disk")
    typed.fine("hosts", "remove", "vm")
    node.news()
    assert [node.add(f"q{number}") for number in range(32)][-1] == "10.64.0.33", "a block of nobody goes first"
    assert typed.fine("verify").startswith("0 findings")


def test_a_host_whose_node_is_gone_can_be_removed(site: Site, typed: Typed) -> None:
    site.delete(NODES, "node2")
    assert "1 of its addresses are in use" in typed.refused("hosts", "remove", "node2")
    typed.fine("hosts", "remove", "node2", "--with-addresses")
    assert [each["name"] for each in typed.data("hosts")] == ["n1", "n2", "node1"]


# Backup


def test_an_export_put_back_changes_nothing(site: Site, typed: Typed, tmp_path: Path) -> None:
    typed.fine("hosts", "add", "vm", "--label", "zone=z2", "--label", "rack=r4")
    typed.fine("allocate", "vm", "disk")
    (tmp_path / "old.yaml").write_text(typed.fine("export"))
    before = site.everything()
    assert "nothing to change" in typed.fine("import", str(tmp_path / "old.yaml"))
    assert site.everything() == before


def test_an_import_brings_layout_and_hosts_without_agents_back_and_leaves_nodes_to_theirs(
    site: Site, typed: Typed, tmp_path: Path
) -> None:
    typed.fine("hosts", "add", "vm", "--label", "zone=z2", "--label", "rack=r4")
    typed.fine("allocate", "vm", "disk")
    (tmp_path / "old.yaml").write_text(typed.fine("export"))
    for plural, found in site.everything().items():
        for each in found:
            site.delete(f"{GROUP}/{plural}", each["metadata"]["name"])
    typed.fine("import", str(tmp_path / "old.yaml"))
    assert [each["name"] for each in typed.data("hosts")] == ["n1", "n2", "vm"]
    assert typed.data("show", "10.67.0.0")["owner"] == "disk"
    for node in site.nodes.values():
        node.news()
        node.keep()
    assert typed.data("show", "10.64.0.0")["owner"] == "eth0.on-node1"
    assert typed.fine("verify").startswith("0 findings: 5 hosts, 3 blocks, 3 addresses")


def test_an_import_that_would_give_a_nodes_block_to_another_host_is_refused(
    site: Site, typed: Typed, tmp_path: Path
) -> None:
    whole = typed.fine("export").replace("host: node2", "host: vm").replace("name: node2", "name: vm")
    (tmp_path / "old.yaml").write_text(whole)
    node = site.nodes["node2"]
    node.delete("eth0.on-node2")
    node.keep()
    before = site.everything()
    err = typed.refused("import", str(tmp_path / "old.yaml"))
    assert "Block 10.65.0.0/27: belongs to node node2 by now, and would be given to host vm" in err
    assert site.everything() == before
