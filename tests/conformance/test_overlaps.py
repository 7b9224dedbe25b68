"""Corners that no file can state, because a folder refuses them or the lab fills them in: worlds of a server only.

Two live pods with one address, pods without one, peers that say nothing, addresses that an agent publishes. Asked of
the judge and of the Tables of every node, which have to agree (`build.passes`).
"""

import json
from pathlib import Path

import pytest

from build import NODE1, NODE2, block, passes, pod, policy, port, rule, select, space
from vallum.model.objects import SCTP, TCP, UDP, NamedPort, Object, Peer, Pod
from vallum.model.selector import EVERYTHING
from vallum.sources.cluster_schema import LOCAL_ADDRESSES
from vallum.sources.folder import read_world, snapshot

SPACES = (NODE1, NODE2, space("a"), space("b"))
WEB, OLD_WEB = NamedPort("web", TCP, 8080), NamedPort("web", TCP, 9090)
SHARED = "10.44.2.50"


def claimants(*, newest: str, older_finished: bool = False) -> tuple[Pod, ...]:
    """Two pods with one address: a friend and a stranger, with other numbers behind the same name."""
    times = {
        name: "2026-01-02T00:00:00Z" if name == newest else "2026-01-01T00:00:00Z" for name in ("friend", "stranger")
    }
    return tuple(
        pod(
            f"a/{name}",
            SHARED,
            node="node2",
            ports=[number],
            created=times[name],
            finished=older_finished and name != newest,
            role=name,
        )
        for name, number in (("friend", WEB), ("stranger", OLD_WEB))
    )


SERVER = pod("a/server", "10.44.1.10", app="server")
FRIENDS = Peer(pods=select(role="friend"))
BOTH = (
    policy("a/in", select(app="server"), [rule(FRIENDS)]),
    policy("a/out", select(app="server"), egress=[rule(ports=[port("web")])]),
)


@pytest.mark.stance(7, 10)
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("newest", "admitted", "number"), [("friend", True, 8080), ("stranger", False, 9090)])
def test_the_newest_pod_with_an_address_gives_it_its_labels_and_its_named_ports(
    newest: str, admitted: bool, number: int, finished: bool
):
    world = (*SPACES, SERVER, *BOTH, *claimants(newest=newest, older_finished=finished))
    assert passes(world, SHARED, "a/server") == admitted
    assert [each for each in (8080, 9090) if passes(world, "a/server", SHARED, each)] == [number]


@pytest.mark.stance(7)
def test_deleting_the_older_of_two_claimants_changes_nothing_and_the_newer_gives_it_back():
    friend, stranger = claimants(newest="friend")
    assert passes((*SPACES, SERVER, *BOTH, friend), SHARED, "a/server")
    assert not passes((*SPACES, SERVER, *BOTH, stranger), SHARED, "a/server")
    assert passes((*SPACES, SERVER, *BOTH, friend, stranger), SHARED, "a/server")


@pytest.mark.stance(6, 7)
def test_a_running_host_network_pod_does_not_own_its_nodes_address_and_a_pod_of_that_address_does():
    hosted = pod(
        "a/host", "172.20.0.12", node="node2", host_network=True, created="2026-02-01T00:00:00Z", role="friend"
    )
    world = (*SPACES, SERVER, *BOTH, hosted)
    assert not passes(world, "172.20.0.12", "a/server")
    owner = pod("a/owner", "172.20.0.12", node="node2", created="2026-01-01T00:00:00Z", role="friend")
    assert passes((*world, owner), "172.20.0.12", "a/server")


@pytest.mark.stance(7)
def test_a_pod_without_an_address_is_judged_by_name_where_selectors_and_named_ports_see_it_and_no_block_does():
    nameless = pod("a/friend", node="node2", ports=[WEB], role="friend")
    everything = policy("a/block", select(app="other"), [rule(block("0.0.0.0/0"), block("::/0"))])
    world = (*SPACES, SERVER, *BOTH, nameless, pod("a/other", "10.44.1.11", app="other"), everything)
    assert passes(world, "a/friend", "a/server")
    assert passes(world, "a/server", "a/friend", 8080)
    assert not passes(world, "a/server", "a/friend", 80)
    assert not passes(world, "a/friend", "a/other")


@pytest.mark.stance(1)
def test_an_empty_peer_read_from_a_server_matches_nothing_and_takes_nothing_from_its_neighbours():
    client = pod("a/client", "10.44.2.10", node="node2", role="friend")
    world = (*SPACES, SERVER, client)
    assert not passes((*world, policy("a/p", ingress=[rule(Peer())])), "a/client", "a/server")
    assert passes((*world, policy("a/p", ingress=[rule(Peer(), FRIENDS)])), "a/client", "a/server")
    assert not passes((*world, policy("a/p", select(app="server"), egress=[rule(Peer())])), "a/server", "203.0.113.9")


@pytest.mark.stance(2)
def test_a_selector_for_all_admits_pods_of_a_namespace_that_has_no_object_only_where_it_is_declared_or_used(
    tmp_path: Path,
):
    """A folder declares every namespace that it uses; a server always has it, perhaps an instant later."""
    bare: tuple[Object, ...] = (NODE1, NODE2, space("a"), SERVER, pod("c/late", "10.44.2.60", node="node2"))
    everybody = policy("a/p", ingress=[rule(Peer(namespaces=EVERYTHING))])
    assert not passes((*bare, everybody), "c/late", "a/server")
    assert passes((*bare, space("c"), everybody), "c/late", "a/server")
    items = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": name, "name": "pod"}} for name in ("a", "c")
    ] + [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": "a", "name": "p"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]},
        }
    ]
    (tmp_path / "world.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    things = read_world(tmp_path).objects
    assert passes(things, "c/pod", "a/pod")


@pytest.mark.stance(13)
def test_every_address_that_a_nodes_agent_publishes_is_its_own_and_another_nodes_is_not(tmp_path: Path):
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {LOCAL_ADDRESSES: published}},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }
        for name, address, published in (
            ("node1", "172.20.0.11", "169.254.20.10, 10.44.1.1"),
            ("node2", "172.20.0.12", "10.44.2.1"),
        )
    ]
    (tmp_path / "nodes.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
    world = (*snapshot(read_world(tmp_path)).nodes.values(), space("a"), SERVER, policy("a/shut", ingress=[]))
    own = [end for end in ("172.20.0.11", "169.254.20.10", "10.44.1.1") if passes(world, end, "a/server")]
    others = [end for end in ("172.20.0.12", "10.44.2.1", "169.254.20.11") if passes(world, end, "a/server")]
    assert (own, others) == (["172.20.0.11", "169.254.20.10", "10.44.1.1"], [])


@pytest.mark.stance(9, 10)
@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_one_number_under_three_protocols_and_one_name_stay_three_ports(protocol: int):
    ports = [NamedPort("dns", each, 53) for each in (TCP, UDP, SCTP)]
    server = pod("a/server", "10.44.1.10", ports=ports, app="server")
    world = (*SPACES, server, policy("a/p", ingress=[rule(ports=[port("dns", protocol=protocol)])]))
    open_ = [each for each in (TCP, UDP, SCTP) if passes(world, "203.0.113.9", "a/server", 53, protocol=each)]
    assert open_ == [protocol]
