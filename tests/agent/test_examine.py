"""What is seen on a node that is set up wrongly, as no lab is: two links, ranges in the way, and silence."""

import time
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from inside import run_inside
from vallum.agent.doctor import diagnose
from vallum.agent.examine import examine
from vallum.agent.reconcile import Moments, Report
from vallum.agent.settings import Cni, Settings
from vallum.agent.symptoms import Symptoms
from vallum.kernel import forwarding, netns, sysctl
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import SyncReport
from vallum.model.attachment import LocalNode
from vallum.model.objects import Node
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Route, Vxlan, Wiring
from vallum.policy.compile import Engine

pytestmark = pytest.mark.packets
OWN, ASTRAY, PEER = "10.0.2.15", "192.168.56.11", "10.0.2.16"


def node(name: str, address: str, *ranges: str, more: tuple[str, ...] = ()) -> Node:
    return Node(name, (), tuple(map(ip_address, (address, *more))), tuple(map(ip_network, ranges)))


def seen(*nodes: Node, plan: Wiring | None = None, backend: str = "hostgw", ipam: str = "ranges") -> Symptoms:
    """By node a, which has OWN on eth0, the link of PEER, and ASTRAY on eth1."""

    def piece() -> Symptoms:
        forwarding.ensure(4)
        netns.create("vallum-peer")
        there = netns.open_namespace("vallum-peer")
        with Rtnetlink() as links:
            macs = {"mac": "02:00:00:00:00:01", "peer_mac": "02:00:00:00:00:02"}
            links.add_veth("eth0", "eth0", peer_namespace=there, mtu=1500, **macs)
            links.add_veth("eth1", "other", mac="02:00:00:00:00:03", peer_mac="02:00:00:00:00:04", mtu=1500)
            links.add_address("eth0", ip_interface(f"{OWN}/24"))
            links.add_address("eth1", ip_interface(f"{ASTRAY}/24"))
        with netns.entered(there), Rtnetlink() as links:
            links.set_link("eth0", up=True)
            links.add_address("eth0", ip_interface(f"{PEER}/24"))
        sysctl.write("net/ipv4/conf/eth0/forwarding", 0)
        snapshot = snapshot_of(list(nodes), "1")
        ruleset, _ = Engine("a").compile(snapshot)
        now = time.monotonic()
        moments = Moments(now, now, now, now)
        report = Report(snapshot, ruleset, LocalNode("a"), (), SyncReport(), (), 0.0, moments, plan or Wiring())
        settings = Settings("a", Path("/nowhere"), backend=backend, cni=Cni(ipam=ipam))
        return examine(report, settings)

    return run_inside(piece)


B = node("b", PEER, "10.44.2.0/24")


def ids(symptoms: Symptoms) -> list[str]:
    return [each.id for each in diagnose(symptoms)]


def test_an_address_on_the_other_link_is_seen() -> None:
    symptoms = seen(node("a", ASTRAY), B)
    assert ids(symptoms) == ["wrong-interface"]
    (stated,) = symptoms.stated
    assert (stated.holder, stated.used, stated.source, stated.peer) == ("eth1", "eth0", ip_address(OWN), "b")


def test_an_address_on_no_link_is_seen_also_without_other_nodes() -> None:
    assert [each.holder for each in seen(node("a", "203.0.113.9")).stated] == [None]


def test_an_address_on_loopback_is_meant() -> None:
    assert seen(node("a", "127.0.0.1"), B).stated == ()


def test_a_link_that_forwards_nothing_matters_to_a_node_with_pods() -> None:
    assert ids(seen(node("a", OWN, "10.44.1.0/24"), B)) == ["forwarding"]
    assert ids(seen(node("a", OWN), B)) == []


def test_pods_in_the_network_of_the_link_between_nodes_are_seen() -> None:
    symptoms = seen(node("a", OWN), node("b", PEER, "10.0.2.128/25"))
    assert [(each.device, str(each.network), each.node) for each in symptoms.on_link] == [("eth0", "10.0.2.0/24", "b")]


def test_a_route_that_the_kernel_made_for_a_range_is_foreign_but_not_where_others_route() -> None:
    within = node("b", PEER, "192.168.0.0/16")
    assert [(each.device, each.protocol) for each in seen(node("a", OWN), within).foreign] == [("eth1", 2)]
    assert seen(node("a", OWN), within, backend="none").foreign == ()


DEVICE = Vxlan("vallum.vxlan4", 86, 8472, "02:00:00:00:00:09", 1450, ip_address(OWN))
TUNNELLED = Wiring(
    frozenset({Route(ip_network("10.44.2.0/24"), ip_address(PEER), DEVICE.name, onlink=True)}),
    devices=frozenset({DEVICE}),
)


def test_a_tunnel_is_tried_at_the_address_that_the_other_node_published() -> None:
    published = node("b", PEER, "10.44.2.0/24", more=("10.44.2.9",))
    for ipam in ("ranges", "ledger"):
        symptoms = seen(node("a", OWN), published, plan=TUNNELLED, ipam=ipam)
        assert [(str(each.to), each.asked) for each in symptoms.trials] == [(PEER, 1500), ("10.44.2.9", 1450)]


def test_without_a_published_one_a_range_spares_one_and_blocks_do_not() -> None:
    assert [str(each.to) for each in seen(node("a", OWN), B, plan=TUNNELLED).trials] == [PEER, "10.44.2.0"]
    symptoms = seen(node("a", OWN), B, plan=TUNNELLED, ipam="cluster")
    assert [str(each.to) for each in symptoms.trials] == [PEER]
    assert symptoms.untried == ("node b through vallum.vxlan4: no address of its own in 10.44.2.0/24 is known",)


def test_a_silent_vxlan_peer_is_asked_whether_it_listens() -> None:
    assert ids(seen(node("a", OWN), B, plan=TUNNELLED)) == ["vxlan-not-listening"]
