"""NetworkPolicy v1 as a Ruleset: every peer form, port form and default, and whose addresses count."""

from ipaddress import ip_address

import pytest

from build import NODE1, NODE2, block, passes, pod, policy, port, rule, select, space
from vallum.model.address import pack
from vallum.model.objects import SCTP, TCP, UDP, NamedPort, Object, Peer, PolicyId
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.model.snapshot import snapshot_of
from vallum.policy.compile import compile_node
from vallum.policy.ruleset import Way

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", ports=(NamedPort("http", TCP, 8080),))
FRIEND = pod("a/friend", "10.44.1.11", "fd44:0:0:1::11", app="friend")
OTHER = pod("a/other", "10.44.2.12", "fd44:0:0:2::12", app="other", node="node2")
AWAY = pod("b/friend", "10.44.2.13", "fd44:0:0:2::13", app="friend", node="node2")
STRANGER = pod("b/stranger", "10.44.2.14", app="stranger", node="node2")
PODS = (SERVER, FRIEND, OTHER, AWAY, STRANGER)
WORLD: tuple[Object, ...] = (NODE1, NODE2, space("a", team="x"), space("b", team="y"), *PODS)
CLIENTS = ("a/friend", "a/other", "b/friend", "b/stranger")


def guarded(*rules: object) -> tuple[Object, ...]:
    """The world with one policy on a/server that has these ingress rules."""
    return (*WORLD, policy("a/guard", select(app="server"), ingress=rules))  # type: ignore[arg-type]


def admitted(*peers: Peer) -> set[str]:
    """Which of the clients one rule with these peers lets in."""
    world = guarded(rule(*peers))
    return {client for client in CLIENTS if passes(world, client, "a/server")}


# peers


def test_no_policy_isolates_nobody():
    assert all(passes(WORLD, client, "a/server", protocol="SCTP") for client in CLIENTS)


def test_an_empty_peer_list_allows_every_source():
    assert admitted() == set(CLIENTS)
    assert passes(guarded(rule()), "203.0.113.9", "a/server")


def test_no_rule_at_all_allows_nothing():
    world = guarded()
    assert not any(passes(world, client, "a/server") for client in CLIENTS)


def test_a_pod_selector_alone_means_the_own_namespace():
    assert admitted(Peer(pods=select(app="friend"))) == {"a/friend"}


def test_an_empty_pod_selector_means_every_pod_of_the_own_namespace():
    assert admitted(Peer(pods=EVERYTHING)) == {"a/friend", "a/other"}


def test_a_namespace_selector_alone_means_every_pod_there():
    assert admitted(Peer(namespaces=select(team="y"))) == {"b/friend", "b/stranger"}


def test_both_selectors_in_one_peer_are_anded():
    assert admitted(Peer(select(app="friend"), select(team="y"))) == {"b/friend"}


def test_two_peers_are_ored():
    peers = Peer(pods=select(app="other")), Peer(namespaces=select(team="y"))
    assert admitted(*peers) == {"a/other", "b/friend", "b/stranger"}


def test_the_name_label_of_a_namespace_is_always_there():
    world = (
        SERVER,
        AWAY,
        policy("a/guard", None, [rule(Peer(namespaces=select(**{"kubernetes.io/metadata.name": "b"})))]),
    )
    assert passes((*world, space("a"), space("b")), "b/friend", "a/server")


def test_a_namespace_selector_never_admits_an_address_outside():
    assert not passes(guarded(rule(Peer(namespaces=EVERYTHING))), "203.0.113.9", "a/server")


def test_a_selector_that_matches_no_pod_admits_nobody():
    assert admitted(Peer(pods=select(app="nobody"))) == set()


def test_a_peer_that_says_nothing_matches_nothing():
    assert admitted(Peer()) == set()


def test_expressions_and_labels_are_anded():
    selector = Selector(
        (Requirement("app", Operator.EXISTS), Requirement("app", Operator.NOT_IN, ("other", "stranger")))
    )
    assert admitted(Peer(selector, EVERYTHING)) == {"a/friend", "b/friend"}


def test_rules_and_policies_only_add():
    one, other = rule(Peer(pods=select(app="friend"))), rule(Peer(pods=select(app="other")))
    apart = (*WORLD, policy("a/one", ingress=[one]), policy("a/other", ingress=[other]))
    for client in CLIENTS:
        assert passes(guarded(one, other), client, "a/server") == passes(apart, client, "a/server")


# ipBlock (stances 4, 6, 8)


def test_a_block_admits_addresses_outside_and_pods_inside_it():
    world = guarded(rule(block("10.44.2.0/24"), block("203.0.113.0/24")))
    assert passes(world, "203.0.113.9", "a/server")
    assert passes(world, "b/stranger", "a/server")
    assert not passes(world, "a/friend", "a/server")
    assert not passes(world, "198.51.100.1", "a/server")


def test_except_cuts_out_of_its_own_block_and_another_rule_may_still_admit():
    cut = rule(block("203.0.113.0/24", "203.0.113.64/26"))
    assert not passes(guarded(cut), "203.0.113.70", "a/server")
    assert passes(guarded(cut), "203.0.113.63", "a/server")
    assert passes(guarded(cut), "203.0.113.128", "a/server")
    assert passes(guarded(cut, rule(block("203.0.113.70/32"))), "203.0.113.70", "a/server")


def test_exceptions_that_touch_and_nest_cut_all_of_themselves():
    world = guarded(rule(block("203.0.113.0/24", "203.0.113.0/26", "203.0.113.32/27", "203.0.113.64/26")))
    assert [passes(world, f"203.0.113.{last}", "a/server") for last in (0, 63, 64, 127, 128, 255)] == [
        *(False,) * 4,
        *(True,) * 2,
    ]


def test_a_block_of_the_other_family_matches_nothing():
    world = guarded(rule(block("::/0")))
    assert not passes(world, "a/friend", "a/server", family=4)
    assert passes(world, "a/friend", "a/server", family=6)


def test_a_host_network_pod_is_seen_by_blocks_only():
    host = pod("a/host", node="node2", host_network=True, app="friend")
    by_label = (*guarded(rule(Peer(pods=select(app="friend")))), host)
    by_block = (*guarded(rule(block("172.20.0.12/32"))), host)
    assert not passes(by_label, "a/host", "a/server")
    assert passes(by_block, "a/host", "a/server")


def test_a_host_network_pod_is_no_subject_of_a_policy():
    world = (*WORLD, pod("a/host", node="node2", host_network=True), policy("a/all", ingress=[], egress=[]))
    assert passes(world, "b/stranger", "a/host")
    assert not passes(world, "b/stranger", "a/friend")


# ports


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        (port(80), [("TCP", 80)], [("TCP", 81), ("UDP", 80), ("SCTP", 80)]),
        (port(80, protocol=UDP), [("UDP", 80)], [("TCP", 80), ("UDP", 79)]),
        (port(80, protocol=SCTP), [("SCTP", 80)], [("TCP", 80), ("UDP", 80)]),
        (port(80, 90), [("TCP", 80), ("TCP", 90)], [("TCP", 79), ("TCP", 91), ("UDP", 85)]),
        (port(None, protocol=UDP), [("UDP", 1), ("UDP", 65535)], [("TCP", 1), ("SCTP", 1)]),
        (port("http"), [("TCP", 8080)], [("TCP", 80), ("UDP", 8080)]),
        (port("http", protocol=UDP), [], [("TCP", 8080), ("UDP", 8080)]),
        (port("gone"), [], [("TCP", 8080), ("TCP", 80)]),
    ],
    ids=["number", "udp", "sctp", "range", "protocol only", "name", "name of another protocol", "unknown name"],
)
def test_a_port_admits_exactly_itself(entry: object, inside: list[tuple[str, int]], outside: list[tuple[str, int]]):
    world = guarded(rule(ports=[entry]))  # type: ignore[list-item]
    assert all(passes(world, "a/friend", "a/server", number, protocol=name) for name, number in inside)
    assert not any(passes(world, "a/friend", "a/server", number, protocol=name) for name, number in outside)
    assert not passes(world, "a/friend", "a/server", protocol="ICMP")


@pytest.mark.parametrize("ports", [None, ()])
def test_missing_and_empty_ports_mean_everything_portless_protocols_too(ports: tuple[()] | None):
    world = guarded(rule(ports=ports))
    for protocol in ("TCP", "UDP", "SCTP", "ICMP", 47):
        assert passes(world, "a/friend", "a/server", protocol=protocol)


def test_a_named_port_has_the_number_that_each_pod_gives_it():
    twin = pod("a/twin", "10.44.1.20", app="server", ports=(NamedPort("http", TCP, 9090),))
    world = (*guarded(rule(ports=[port("http")])), twin)
    assert passes(world, "a/friend", "a/server", 8080)
    assert not passes(world, "a/friend", "a/server", 9090)
    assert passes(world, "a/friend", "a/twin", 9090)
    assert not passes(world, "a/friend", "a/twin", 8080)


def test_one_name_may_stand_for_two_protocols():
    names = (NamedPort("dns", TCP, 53), NamedPort("dns", UDP, 5353))
    server = pod("a/dns", "10.44.1.20", app="dns", ports=names)
    world = (*WORLD, server, policy("a/dns", select(app="dns"), [rule(ports=[port("dns"), port("dns", protocol=UDP)])]))
    answers = [passes(world, "a/friend", "a/dns", n, protocol=p) for n in (53, 5353) for p in ("TCP", "UDP")]
    assert answers == [True, False, False, True]


def test_in_egress_a_named_port_is_the_destinations():
    world = (*WORLD, policy("a/out", select(app="friend"), egress=[rule(ports=[port("http")])]))
    assert passes(world, "a/friend", "a/server", 8080)
    assert not passes(world, "a/friend", "a/server", 80)
    assert not passes(world, "a/friend", "a/other", 8080), "it has no port of that name"
    assert not passes(world, "a/friend", "203.0.113.9", 8080), "nobody outside names ports"


def test_in_egress_a_named_port_counts_for_the_selected_peers_only():
    twin = pod("b/twin", "10.44.2.20", node="node2", ports=(NamedPort("http", TCP, 8080),))
    peers = Peer(namespaces=select(team="x"))
    world = (*WORLD, twin, policy("a/out", select(app="friend"), egress=[rule(peers, ports=[port("http")])]))
    assert passes(world, "a/friend", "a/server", 8080)
    assert not passes(world, "a/friend", "b/twin", 8080)


# directions


def test_a_policy_isolates_only_the_direction_that_it_has():
    inwards = (*WORLD, policy("a/in", select(app="server"), ingress=[]))
    outwards = (*WORLD, policy("a/out", select(app="server"), egress=[]))
    assert not passes(inwards, "a/friend", "a/server")
    assert passes(inwards, "a/server", "a/friend")
    assert passes(outwards, "a/friend", "a/server")
    assert not passes(outwards, "a/server", "a/friend")


def test_both_ends_must_agree():
    sender = policy("a/out", select(app="friend"), egress=[rule(Peer(pods=select(app="server")))])
    server = policy("a/in", select(app="server"), ingress=[rule(Peer(pods=select(app="friend")))])
    assert passes((*WORLD, sender, server), "a/friend", "a/server")
    assert not passes((*WORLD, sender, server), "a/friend", "a/other")
    assert not passes((*WORLD, sender, server), "a/other", "a/server")


def test_a_policy_selects_pods_of_its_own_namespace_only():
    world = (*WORLD, policy("a/guard", select(app="friend"), ingress=[]))
    assert not passes(world, "a/server", "a/friend")
    assert passes(world, "a/server", "b/friend")


# who counts (stances 6, 7)


def test_a_finished_pod_is_no_peer_and_its_address_is_nobodys():
    done = pod("a/done", "10.44.1.30", app="friend", finished=True)
    world = (*guarded(rule(Peer(pods=select(app="friend")))), done)
    assert not passes(world, "10.44.1.30", "a/server")


def test_the_newest_live_pod_owns_an_address():
    old = pod("a/old", "10.44.1.30", app="friend", created="2026-01-01T00:00:00Z")
    new = pod("a/new", "10.44.1.30", app="other", created="2026-01-02T00:00:00Z")
    base = guarded(rule(Peer(pods=select(app="friend"))))
    assert not passes((*base, old, new), "10.44.1.30", "a/server")
    assert not passes((*base, new), "10.44.1.30", "a/server"), "the older one's end changes nothing"
    assert passes((*base, old), "10.44.1.30", "a/server")


def test_a_finished_pod_gives_its_address_up_even_to_an_older_one():
    old = pod("a/old", "10.44.1.30", app="friend", created="2026-01-01T00:00:00Z")
    new = pod("a/new", "10.44.1.30", app="other", created="2026-01-02T00:00:00Z", finished=True)
    assert passes((*guarded(rule(Peer(pods=select(app="friend")))), old, new), "10.44.1.30", "a/server")


def test_a_pod_that_lost_one_address_keeps_the_other():
    both = pod("a/both", "10.44.1.30", "fd44:0:0:1::30", app="friend", created="2026-01-01T00:00:00Z")
    taker = pod("a/taker", "10.44.1.30", app="other", created="2026-01-02T00:00:00Z")
    world = (*guarded(rule(Peer(pods=select(app="friend")))), both, taker)
    assert passes(world, "a/both", "a/server", family=6)
    assert not passes(world, "10.44.1.30", "a/server")


def test_a_pod_without_an_address_waits_on_a_node_and_is_judged_by_name_in_files():
    waiting = pod("a/waiting", app="server")
    snapshot = snapshot_of((*guarded(rule(Peer(pods=select(app="friend")))), waiting))
    assert waiting.id not in {local.pod for local in compile_node(snapshot, "node1").locals}
    world = tuple(snapshot.pods.values()) + tuple(snapshot.policies.values())
    assert passes(world, "a/friend", "a/waiting")
    assert not passes(world, "a/other", "a/waiting")


def test_a_node_gets_its_own_pods_only():
    snapshot = snapshot_of(WORLD)
    assert {str(local.pod) for local in compile_node(snapshot, "node1").locals} == {"a/server", "a/friend"}
    assert compile_node(snapshot, "elsewhere").locals == ()


def test_a_pod_knows_the_addresses_of_its_own_node():
    local = compile_node(snapshot_of(WORLD), "node2").locals[0]
    assert pack(ip_address("172.20.0.12")) in local.host
    assert pack(ip_address("172.20.0.11")) not in local.host


# sharing


def test_pods_with_the_same_policies_share_one_side():
    world = (*WORLD, policy("a/all", ingress=[rule(Peer(pods=EVERYTHING))]))
    sides = {str(local.pod): local.ingress for local in compile_node(snapshot_of(world), None).locals}
    assert sides["a/friend"] is sides["a/other"]
    assert sides["a/friend"] is not sides["b/friend"]


def test_pods_share_a_side_although_their_unused_named_ports_differ():
    world = (*WORLD, policy("a/all", ingress=[rule(ports=[port(80)])]))
    sides = {str(local.pod): local.ingress for local in compile_node(snapshot_of(world), None).locals}
    assert sides["a/server"] is sides["a/friend"]


def test_pods_that_number_a_used_name_differently_do_not_share():
    world = (*WORLD, policy("a/all", ingress=[rule(ports=[port("http")])]))
    sides = {str(local.pod): local.ingress for local in compile_node(snapshot_of(world), None).locals}
    assert sides["a/server"] is not sides["a/friend"]
    assert sides["a/server"].name != sides["a/friend"].name


def test_a_peer_set_keeps_its_name_while_pods_come_and_go():
    world = guarded(rule(Peer(pods=select(app="friend"))))
    more = (*world, pod("a/second", "10.44.1.40", app="friend"))
    before, after = (compile_node(snapshot_of(things), None).sets for things in (world, more))
    assert before.keys() == after.keys()
    assert before != after


def test_rules_name_where_they_come_from():
    world = guarded(rule(block("10.0.0.0/8")), rule(ports=[port(80)]))
    local = next(one for one in compile_node(snapshot_of(world), "node1").locals if one.pod == SERVER.id)
    assert [(one.why.policy, one.why.way, one.why.index) for one in local.ingress.rules] == [
        (PolicyId("a", "guard"), Way.INGRESS, 0),
        (PolicyId("a", "guard"), Way.INGRESS, 1),
    ]
