"""From what was seen to what is wrong: each fault has its id, and where one explains another it alone is told."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from vallum.agent.doctor import Finding, diagnose, published
from vallum.agent.symptoms import Arrival, Foreign, OnLink, Stated, Symptoms, Trial, Tunnel
from vallum.model.wiring import Problem

VXLAN = Tunnel("vallum.vxlan4", "vxlan", "UDP port 8472", 1450)
IPIP = Tunnel("vallum.ipip", "ipip", "IP protocol 4", 1480)
LINK, INSIDE, INSIDE6 = "172.20.0.12", "10.44.2.0", "fd44:0:0:2::"
RANGE = ip_network("10.44.2.0/24")


def tried(to: str, most: int | None, tunnel: Tunnel | None = None, *, refused: bool = False) -> Trial:
    return Trial("b", ip_address(to), tunnel, tunnel.mtu if tunnel else 1500, most, refused)


def found(**seen: object) -> tuple[Finding, ...]:
    return diagnose(Symptoms("a", **seen))  # type: ignore[arg-type] - fields by name


def ids(**seen: object) -> list[str]:
    return [each.id for each in found(**seen)]


def test_nothing_is_wrong_where_everything_passes() -> None:
    whole = (tried(LINK, 1500), tried(INSIDE, 1450, VXLAN))
    assert ids(trials=whole, tracked=(10, 1000), dropped=(("wrong-inner", 0),)) == []


@pytest.mark.parametrize(("tunnel", "id_"), [(VXLAN, "vxlan-closed"), (IPIP, "ipip-closed")])
def test_a_silent_tunnel_to_a_node_that_lives_names_what_it_needs(tunnel: Tunnel, id_: str) -> None:
    (only,) = found(trials=(tried(LINK, 1500), tried(INSIDE, None, tunnel), tried(INSIDE6, None, tunnel)))
    assert (only.id, only.node, only.peer) == (id_, "a", "b")
    assert f"{tunnel.needs} is closed between the two" in only.text
    assert only.cure.startswith(f"open {tunnel.needs} between all nodes")


def test_a_port_that_nobody_listens_on_is_not_closed() -> None:
    assert ids(trials=(tried(LINK, 1500), tried(INSIDE, None, VXLAN, refused=True))) == ["vxlan-not-listening"]


def test_a_node_that_answers_nowhere_is_unreachable_and_its_tunnel_no_news() -> None:
    (only,) = found(trials=(tried(LINK, None), tried(INSIDE, None, VXLAN)))
    assert (only.id, only.text) == ("unreachable", f"node b does not answer at {LINK}, {INSIDE}")


def test_a_node_that_answers_through_the_tunnel_alone_is_not_missed() -> None:
    assert ids(trials=(tried(LINK, None), tried(INSIDE, 1450, VXLAN))) == []


def test_one_family_that_is_silent_is_told() -> None:
    assert ids(trials=(tried(LINK, 1500), tried("fd00::12", None))) == ["half-reached"]
    through = (tried(LINK, 1500), tried(INSIDE, 1450, VXLAN), tried(INSIDE6, None, VXLAN))
    (only,) = found(trials=through)
    assert (only.id, INSIDE6 in only.text) == ("half-reached", True)


def test_a_narrow_link_is_told_once_with_the_mtu_that_fits_the_tunnel() -> None:
    (only,) = found(trials=(tried(LINK, 1400), tried("fd00::12", 1400), tried(INSIDE, 1350, VXLAN)))
    assert only.id == "mtu-link"
    assert "up to 1400 bytes, not 1500" in only.text
    assert only.cure.endswith("start all agents with --mtu 1350")


def test_a_narrow_link_without_tunnels_is_what_pods_get() -> None:
    (only,) = found(trials=(tried(LINK, 1400),))
    assert only.cure.endswith("--mtu 1400")


def test_a_tunnel_narrower_than_its_link_is_told() -> None:
    (only,) = found(trials=(tried(LINK, 1500), tried(INSIDE, 1422, VXLAN)))
    assert (only.id, "node b gets 1422" in only.text) == ("mtu-tunnel", True)


def test_a_strict_filter_matters_where_the_way_back_is_another() -> None:
    astray = Arrival("b", RANGE, "eth1", "eth0")
    (only,) = found(arrivals=(astray, Arrival("b", RANGE, "eth0", "eth0")), strict=frozenset({"eth0", "eth1"}))
    assert (only.id, only.cure) == ("rp-filter", "sysctl -w net.ipv4.conf.eth1.rp_filter=2")
    assert ids(arrivals=(astray,), strict=frozenset({"eth0"})) == []


def test_a_dot_in_an_interfaces_name_is_a_slash_for_sysctl() -> None:
    (only,) = found(arrivals=(Arrival("b", RANGE, VXLAN.device, "eth0"),), strict=frozenset({VXLAN.device}))
    assert only.cure == "sysctl -w net.ipv4.conf.vallum/vxlan4.rp_filter=2"


def test_forwarding_that_is_off_is_named_by_its_key() -> None:
    cures = [each.cure.partition(",")[0] for each in found(closed={4: frozenset({"all"}), 6: frozenset({"all"})})]
    assert cures == ["sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.all.forwarding=1"]
    (only,) = found(closed={4: frozenset({"eth0"})})
    assert "that come in by eth0" in only.text
    assert only.cure.startswith("sysctl -w net.ipv4.conf.eth0.forwarding=1")


def test_an_address_on_another_interface_than_the_nodes_is_named() -> None:
    astray = Stated(ip_address("192.168.56.11"), "eth1", "b", "eth0", ip_address("10.0.2.15"))
    (only,) = found(stated=(astray,))
    assert (only.id, only.level) == ("wrong-interface", "warning")
    assert "by 192.168.56.11 on eth1, but it reaches node b by eth0 from 10.0.2.15" in only.text
    nowhere = Stated(ip_address("192.168.56.11"), None, "", "", ip_address("192.168.56.11"))
    assert "which no interface here has" in found(stated=(nowhere,))[0].text


def test_pods_in_the_network_of_the_nodes_are_told() -> None:
    assert ids(on_link=(OnLink("eth0", ip_network("10.44.0.0/16"), "b", RANGE),)) == ["overlap"]


@pytest.mark.parametrize(
    ("device", "protocol", "owner"),
    [("flannel.1", 3, "flannel"), ("cali12ab", 3, "Calico"), ("tunl0", 12, "Calico"), (None, 80, "Calico"),
     ("eth0", 12, "BIRD"), ("eth0", 99, "protocol 99")],
)  # fmt: skip
def test_a_route_of_another_network_is_named_with_its_owner(device: str | None, protocol: int, owner: str) -> None:
    (only,) = found(foreign=(Foreign(RANGE, device, protocol, "b", RANGE),))
    assert only.id == "foreign-route"
    assert only.text.startswith(f"the route 10.44.2.0/24 of {owner} {'leads by' if device else 'rejects packets'}")
    assert f"ip route del 10.44.2.0/24{f' dev {device}' if device else ''}" in only.cure


def test_an_old_bridge_is_to_go_and_not_its_route_alone() -> None:
    (only,) = found(foreign=(Foreign(RANGE, "cni0", 2, "b", RANGE),))
    assert (only.id, only.cure.endswith(": ip link del cni0")) == ("foreign-route", True)


def test_a_link_in_use_within_a_pod_range_is_an_overlap_told_once() -> None:
    eth1 = (Foreign(ip_network("10.44.2.0/25"), "eth1", 2, "b", RANGE),)
    (only,) = found(foreign=eth1, on_link=(OnLink("eth1", ip_network("10.44.2.0/25"), "b", RANGE),))
    assert (only.id, "ip route del" in only.cure) == ("overlap", False)


def test_what_a_foreign_route_takes_away_is_not_told_twice() -> None:
    trials = (tried(LINK, 1500), tried(INSIDE, None, VXLAN))
    foreign = (Foreign(ip_network("10.44.2.0/25"), "cni0", 2, "b", RANGE),)
    assert ids(trials=trials, foreign=foreign) == ["foreign-route"]


@pytest.mark.parametrize(("count", "levels"), [(899, []), (900, ["warning"]), (1000, ["error"])])
def test_a_full_table_of_connections_is_worse_than_one_that_is_nearly(count: int, levels: list[str]) -> None:
    assert [each.level for each in found(tracked=(count, 1000))] == levels


def test_packets_dropped_at_a_tunnel_are_told_by_reason() -> None:
    told = found(dropped=(("unknown-outer", 3), ("wrong-inner", 1), ("not-ip", 0)))
    assert [each.text.partition(":")[0] for each in told] == [
        "3 packets have been dropped at a tunnel",
        "a packet has been dropped at a tunnel",
    ]


@pytest.mark.parametrize(
    ("problem", "id_", "peer"),
    [
        (Problem("node b", "its pod range 10.44.2.0/24 overlaps 10.44.0.0/16 of node a"), "overlap", "b"),
        (Problem("node b", "it is not on this link (the way is via 10.0.0.1), so ..."), "not-adjacent", "b"),
        (Problem("node b", "no route leads to its address 10.0.0.2, its pods are out of reach"), "no-way", "b"),
        (Problem("bridge cni0", "pods ... since br_netfilter is off"), "br-netfilter", ""),
        (Problem("10.44.2.0/24 via 10.0.0.2", "another program has ...; it is left alone"), "foreign-route", ""),
        (Problem("pool p", "its back end teleport is unknown"), "reported", ""),
    ],
)
def test_what_an_agent_reports_of_itself_is_passed_on(problem: Problem, id_: str, peer: str) -> None:
    (only,) = found(problems=(problem,))
    assert (only.id, only.peer, only.text) == (id_, peer, f"{problem.subject}: {problem.text}")


def test_errors_come_first() -> None:
    told = found(dropped=(("not-ip", 1),), problems=(Problem("pool p", "unknown"),))
    assert [each.level for each in told] == ["error", "warning"]


def test_a_node_without_a_published_state_has_no_agent() -> None:
    assert [each.id for each in published("b", None)] == ["no-agent"]
    state = {"ready": True, "lastError": "", "problems": ["node c: no route leads to its address 10.0.0.3"]}
    assert [(each.node, each.id) for each in published("b", state)] == [("b", "no-way")]
    assert published("b", {"ready": True, "lastError": "", "problems": []}) == ()


def test_the_page_names_every_finding() -> None:
    root = Path(__file__).parents[2]
    source = (root / "src/vallum/agent/doctor.py").read_text()
    named = set(re.findall(r'Finding\(f?"([^"]+)"', source)) | set(
        re.findall(r'\(re\.compile.*?, "([a-z-]+)"\)', source)
    )
    kinds = {each.replace("{tunnel.kind}", kind) for each in named for kind in ("vxlan", "ipip")} | {"reported"}
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| (?:error|warning) \|", (root / "docs/doctor.md").read_text(), re.MULTILINE
    )
    assert set(rows) == kinds - {"ipip-not-listening"}  # ipip has no port to listen on
