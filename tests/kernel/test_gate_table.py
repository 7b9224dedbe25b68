"""What a wiring asks of the gate, and the way from one table to the next."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from vallum.kernel.gate_table import GateTable, change, difference, parse, render, whole
from vallum.model.wiring import Ipip, Masquerade, Origin, Vxlan, Wiring

V4 = Vxlan("vallum.vxlan4", 86, 8472, "0e:00:00:00:00:01", 1450, ip_address("172.20.0.11"))
V6 = Vxlan("vallum.vxlan6", 86, 8472, "0e:00:00:00:00:02", 1430, ip_address("fd00::11"))
KERNEL_IPIP = Ipip("vallum.ip", "kernel", 1480, ip_address("172.20.0.11"))
BPF_IPIP = Ipip("vallum.ip", "bpf", 1480, ip_address("172.20.0.11"))
LEAVING = Masquerade((ip_network("10.44.0.0/16"),), (ip_network("10.44.0.0/16"), ip_network("10.96.0.0/12")))


def origin(device: str, outer: str, inner: str) -> Origin:
    return Origin(device, ip_address(outer), ip_network(inner))


def table(*origins: Origin, devices: tuple[Vxlan | Ipip, ...] = (V4,)) -> GateTable:
    found = render(Wiring(devices=frozenset(devices), origins=frozenset(origins)))
    assert found is not None
    return found


ONE = origin(V4.name, "172.20.0.12", "10.44.2.0/24")
TWO = origin(V4.name, "172.20.0.13", "10.44.3.0/24")


def test_a_wiring_of_routes_alone_asks_for_no_table() -> None:
    assert render(Wiring()) is None


def test_a_device_without_peers_lets_nobody_in() -> None:
    bare = table()
    assert bare.sets["nodes_vallum.vxlan4"].elements == frozenset()
    assert bare.chains["into_vallum.vxlan4"][-1] == 'counter name "wrong-inner" drop'


def test_a_device_with_programs_checks_for_itself() -> None:
    assert render(Wiring(devices=frozenset({BPF_IPIP}), origins=frozenset({replace(ONE, device="vallum.ip")}))) is None


def test_only_the_own_port_and_network_number_are_looked_at() -> None:
    others = table(devices=(replace(V4, vni=4097, port=4789),))
    assert others.chains["input"][1] == ("meta nfproto ipv4 udp dport 4789 @th,96,24 0x1001 goto into_vallum.vxlan4")


def test_a_range_within_another_of_the_same_node_needs_no_mention() -> None:
    nested = origin(V4.name, "172.20.0.12", "10.44.2.128/25")
    assert table(ONE, nested).sets == table(ONE).sets


def test_an_address_of_one_node_within_the_range_of_another_is_both_nodes() -> None:
    sets = table(ONE, origin(V4.name, "172.20.0.13", "10.44.2.7/32")).sets
    assert sets["from4_vallum.vxlan4"].elements == {
        "172.20.0.12 . 0xa2c0200-0xa2c02ff",
        "172.20.0.13 . 0xa2c0207",
    }
    assert sets["behind4_vallum.vxlan4"].elements == {"10.44.2.0/24"}


def test_an_origin_of_the_other_outer_family_is_left_out() -> None:
    assert table(origin(V4.name, "fd00::12", "10.44.2.0/24")) == table()


def test_a_peer_more_is_told_by_elements_alone() -> None:
    script = change(table(ONE), table(ONE, TWO))
    assert script is not None
    assert script.splitlines() == [
        "add element inet vallum-gate nodes_vallum.vxlan4 { 172.20.0.13 }",
        "add element inet vallum-gate from4_vallum.vxlan4 { 172.20.0.13 . 0xa2c0300-0xa2c03ff }",
        "add element inet vallum-gate behind4_vallum.vxlan4 { 10.44.3.0/24 }",
    ]


def test_another_device_takes_the_whole_table() -> None:
    assert change(table(ONE), table(ONE, devices=(V4, V6))) is None
    assert change(replace(table(ONE), flags="dormant"), table(ONE)) is None


def test_counters_go_on_when_the_whole_table_is_written() -> None:
    assert "counter wrong-inner { packets 7 bytes 0 }" in whole(table(), {"wrong-inner": 7})


def test_masquerade_spares_what_is_inside_and_what_goes_to_everybody() -> None:
    found = render(Wiring(masquerade=LEAVING))
    assert found is not None
    assert found.sets["sources4"].elements == {"10.44.0.0/16"}
    assert found.sets["inside4"].elements == {"10.44.0.0/16", "10.96.0.0/12", "224.0.0.0/4", "255.255.255.255"}
    assert found.sets["sources6"].elements == frozenset()


def test_masquerade_of_nothing_asks_for_no_table() -> None:
    assert render(Wiring(masquerade=Masquerade((), LEAVING.inside))) is None


def test_what_became_of_a_table_is_told_in_words() -> None:
    wanted = table(ONE)
    assert difference(wanted, wanted) == ()
    assert difference(None, wanted) == ("table inet vallum-gate was gone",)
    assert difference(wanted, None) == ("table inet vallum-gate was there",)
    assert difference(table(TWO), wanted) == (
        "set behind4_vallum.vxlan4 was changed",
        "set from4_vallum.vxlan4 was changed",
        "set nodes_vallum.vxlan4 was changed",
    )
    more = replace(wanted, chains={**wanted.chains, "extra": ("accept",)}, flags="dormant")
    assert difference(more, wanted) == ("table inet vallum-gate was dormant", "chain extra was there")


def test_a_dormant_table_is_read_as_such() -> None:
    assert parse("table inet vallum-gate {\n\tflags dormant\n\n\tchain a {\n\t\taccept\n\t}\n}\n") == GateTable(
        {}, {"a": ("accept",)}, "dormant"
    )
