"""vxlan has a device for each family of outer packets, and for each peer entries that are known without asking."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.model.ground import Ground
from vallum.model.objects import Node
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Forward, Neighbour, Origin, Problem, Route, Vxlan, Wiring
from vallum.network import load
from vallum.network.memo import Memo
from vallum.network.options import Options
from vallum.network.vxlan import plan as vxlan
from vallum.network.vxlan.plan import link_local, mac_of, plan

FOUR, SIX = "172.20.0.{}", "fd00::{}"


def node(number: int, *addresses: str, ranges: tuple[str, ...] | None = None) -> Node:
    own = (f"10.44.{number}.0/24", f"fd44:0:0:{number}::/64") if ranges is None else ranges
    return Node(f"node{number}", (), tuple(map(ip_address, addresses)), tuple(map(ip_network, own)))


def of(*nodes: Node, options: Options = Options()) -> Wiring:  # noqa: B008 - frozen
    return plan(snapshot_of(nodes), "node1", options)


def test_a_peer_is_one_forwarding_entry_one_neighbour_and_a_route_for_each_range() -> None:
    wiring = of(node(1, "172.20.0.11"), node(2, "172.20.0.12", ranges=("10.44.2.0/24", "10.45.2.0/24")))
    mac, remote = mac_of("node2", 4), ip_address("172.20.0.12")
    assert wiring.forwards == {Forward("vallum.vxlan4", mac, remote)}
    assert wiring.neighbours == {Neighbour("vallum.vxlan4", remote, mac)}
    assert wiring.routes == {
        Route(ip_network(each), remote, "vallum.vxlan4", onlink=True) for each in ("10.44.2.0/24", "10.45.2.0/24")
    }
    assert wiring.problems == ()


def test_the_device_has_the_node_s_mac_address_and_leaves_room_for_the_outer_headers() -> None:
    sources = (ip_address("10.44.1.0"), ip_address("fd44:0:0:1::"))
    options = Options(Ground(mtu=9000), vni=7, port=4789, checksum=False, sources=sources)
    wiring = of(node(1, "172.20.0.11"), node(2, "172.20.0.12"), options=options)
    addresses = (ip_interface("10.44.1.0/32"), ip_interface("fd44:0:0:1::/128"))
    mac, local = mac_of("node1", 4), ip_address("172.20.0.11")
    device = Vxlan("vallum.vxlan4", 7, 4789, mac, 8950, local, checksum=False, addresses=addresses)
    assert wiring.devices == {device}
    assert wiring.mtu == 8950
    assert {route.source for route in wiring.routes} == set(sources)


@pytest.mark.parametrize(("outer", "mtu"), [(4, 1450), (6, 1430)])
def test_any_inner_family_goes_through_any_outer_one(outer: int, mtu: int) -> None:
    address = {4: FOUR, 6: SIX}[outer]
    wiring = of(node(1, address.format(11)), node(2, address.format(12)))
    device, hidden = f"vallum.vxlan{outer}", link_local(mac_of("node2", outer))
    gateways = {str(route.destination): route.gateway for route in wiring.routes}
    assert gateways == {
        "10.44.2.0/24": ip_address("172.20.0.12") if outer == 4 else hidden,
        "fd44:0:0:2::/64": hidden,
    }
    assert {each.address for each in wiring.neighbours} == set(gateways.values())
    assert {(each.name, each.mtu) for each in wiring.devices} == {(device, mtu)}
    assert {route.device for route in wiring.routes} == {device}


def test_where_both_ends_have_both_families_the_settings_choose_and_the_only_common_one_serves_else() -> None:
    both, six = node(2, "172.20.0.12", "fd00::12"), node(3, "fd00::13")
    wiring = of(node(1, "172.20.0.11", "fd00::11"), both, six)
    assert {(each.device, each.remote) for each in wiring.forwards} == {
        ("vallum.vxlan4", ip_address("172.20.0.12")),
        ("vallum.vxlan6", ip_address("fd00::13")),
    }
    assert wiring.mtu == 1430
    turned = of(node(1, "172.20.0.11", "fd00::11"), both, six, options=Options(outer=6))
    assert {each.device for each in turned.forwards} == {"vallum.vxlan6"}


def test_a_peer_of_another_family_is_a_problem_and_the_others_are_planned() -> None:
    wiring = of(node(1, "172.20.0.11"), node(2, "fd00::12"), node(3, "172.20.0.13"))
    text = "it has IPv6 addresses and this node has others, so nothing can be sent to it; give both one family"
    assert wiring.problems == (Problem("node node2", text),)
    assert {each.remote for each in wiring.forwards} == {ip_address("172.20.0.13")}


def test_a_node_without_an_address_has_no_device() -> None:
    text = "it has no address of its own to send vxlan packets from"
    assert of(node(1), node(2, "172.20.0.12")) == Wiring(problems=(Problem("node node1", text),))


def test_without_a_peer_the_device_and_the_mtu_are_there_already() -> None:
    alone = of(node(1, "172.20.0.11"))
    assert [each.name for each in alone.devices] == ["vallum.vxlan4"]
    assert (alone.mtu, alone.routes, alone.forwards) == (1450, frozenset(), frozenset())


def test_the_narrowest_device_of_several_sets_the_mtu_of_pods() -> None:
    nodes = (node(1, "172.20.0.11", "fd00::11"), node(2, "172.20.0.12"), node(3, "fd00::13"))
    wiring = of(*nodes, options=Options(Ground(mtu=1400)))
    assert ({each.mtu for each in wiring.devices}, wiring.mtu) == ({1350, 1330}, 1330)


def test_out_of_the_tunnel_comes_what_its_sender_owns() -> None:
    wiring = of(node(1, "172.20.0.11"), node(2, "172.20.0.12", "fd00::12"))
    outer = ip_address("172.20.0.12")
    owned = ("10.44.2.0/24", "fd44:0:0:2::/64", "172.20.0.12/32", "fd00::12/128")
    assert wiring.origins == {Origin("vallum.vxlan4", outer, ip_network(each)) for each in owned}


def test_two_nodes_of_one_mac_address_are_a_problem_for_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vxlan, "mac_of", lambda name, _: "02:00:00:00:00:01" if name != "node1" else "02:00:00:00:00:02"
    )
    monkeypatch.setattr(vxlan, "_PEERS", Memo())
    wiring = of(node(1, "172.20.0.11"), node(2, "172.20.0.12"), node(3, "172.20.0.13"))
    text = "its name leads to the same MAC address 02:00:00:00:00:01 as that of node node2; rename one of them"
    assert wiring.problems == (Problem("node node3", text),)
    assert len(wiring.forwards) == 1


def test_the_mac_address_of_a_node_is_the_same_for_everybody_and_for_ever() -> None:
    assert mac_of("node1", 4) == "02:00:00:5b:59:f9"
    assert link_local("02:b5:a1:d9:1c:63") == ip_address("fe80::b5:a1ff:fed9:1c63")


@given(st.text(min_size=1, max_size=60), st.sampled_from((4, 6)))
def test_a_mac_address_is_unicast_and_locally_administered(name: str, family: int) -> None:
    first, *rest = bytes.fromhex(mac_of(name, family).replace(":", ""))
    assert (first & 3, len(rest)) == (2, 5)


def test_what_two_nodes_plan_of_each_other_fits() -> None:
    nodes = snapshot_of([node(1, "172.20.0.11", "fd00::11"), node(2, "fd00::12", "172.20.0.12")])
    one, two = (plan(nodes, name, Options(outer=6)) for name in ("node1", "node2"))
    (device,) = two.devices
    assert isinstance(device, Vxlan)
    assert {(each.mac, each.remote) for each in one.forwards} == {(device.mac, device.local)}


def test_it_is_the_back_end_called_vxlan() -> None:
    assert load("vxlan") is plan


def test_an_address_that_comes_second_is_not_the_end_of_a_tunnel() -> None:
    peer = replace(node(2, "172.20.0.12"), addresses=(ip_address("172.20.0.12"), ip_address("198.51.100.2")))
    assert {each.remote for each in of(node(1, "172.20.0.11"), peer).forwards} == {ip_address("172.20.0.12")}
