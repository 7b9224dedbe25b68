"""One packet against the Ruleset: what holds whatever the policies say, and the reason of each answer."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, NODE2, ask, block, pod, policy, port, rule, select, space
from packets import packet_of
from vallum.model.address import pack
from vallum.model.objects import ICMP, ICMPV6, TCP, UDP, Object, Peer, PodId, PolicyId
from vallum.model.packet import Direction, Packet
from vallum.model.snapshot import snapshot_of
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge, mirrored
from vallum.policy.verdict import Reason, Verdict
from worlds import probes, world

ONE = pod("a/one", "10.44.1.10", "fd44:0:0:1::10", app="one")
TWO = pod("a/two", "10.44.2.10", "fd44:0:0:2::10", node="node2", app="two")
CLOSED = policy("a/closed", ingress=[], egress=[])
WORLD: tuple[Object, ...] = (NODE1, NODE2, space("a"), ONE, TWO, CLOSED)
OPEN_OUT = policy("a/out", select(app="one"), egress=[rule()])


def decided(things: tuple[Object, ...], packet: Packet) -> Verdict:
    """The judge's verdict, which the Tables must share."""
    ruleset = compile_node(snapshot_of(things), None)
    verdict = judge(ruleset, packet)
    assert decide(classify(ruleset), packet) == verdict.allow
    return verdict


def packet(source: str, target: str, protocol: int = TCP, **more: object) -> Packet:
    """A packet with ports where the protocol has them."""
    ports = {"dport": 80, "sport": 40000} if protocol in (TCP, UDP) else {}
    return Packet(pack(ip_address(source)), pack(ip_address(target)), protocol, **(ports | more))  # type: ignore[arg-type]


# self and own node (stances 13, 14)


def test_a_pod_reaches_itself_whatever_isolates_it():
    assert ask(WORLD, "a/one", "a/one").ingress.kind is Reason.SELF
    assert ask(WORLD, "a/one", "a/one", protocol="ICMP", family=6).allow


def test_the_own_node_reaches_a_pod_always_and_another_node_does_not():
    assert ask(WORLD, "172.20.0.11", "a/one").ingress.kind is Reason.OWN_NODE
    assert ask(WORLD, "fd00:172:20::11", "a/one", protocol="ICMP").allow
    assert not ask(WORLD, "172.20.0.12", "a/one").allow


def test_a_pod_to_its_own_node_is_egress_like_any_other():
    assert not ask(WORLD, "a/one", "172.20.0.11").allow
    assert ask((*WORLD, policy("a/to-node", egress=[rule(block("172.20.0.11/32"))])), "a/one", "172.20.0.11").allow


def test_a_host_network_pod_of_the_own_node_reaches_it_and_one_of_another_node_does_not():
    hosts = (pod("b/near", node="node1", host_network=True), pod("b/far", node="node2", host_network=True))
    assert ask((*WORLD, *hosts), "b/near", "a/one").allow
    assert not ask((*WORLD, *hosts), "b/far", "a/one").allow


# directions (the rule in one paragraph)


def test_a_reply_is_judged_as_the_packet_that_it_answers():
    asked = packet("10.44.1.10", "10.44.2.10", sender=PodId("a", "one"))
    answer = replace(mirrored(asked), direction=Direction.REPLY, sender=PodId("a", "two"))
    allowed = (*WORLD, OPEN_OUT, policy("a/in", select(app="two"), ingress=[rule(ports=[port(80)])]))
    assert decided(allowed, asked).allow
    assert decided(allowed, answer).allow
    assert not decided(WORLD, answer).allow
    fresh = replace(answer, direction=Direction.ORIGINAL)
    assert not decided(allowed, fresh).allow, "as a new flow of its own it is denied"


def test_a_packet_without_direction_passes_if_either_way_round_is_allowed():
    asked = packet("10.44.1.10", "10.44.2.10", sender=PodId("a", "one"), direction=Direction.NONE)
    answer = replace(mirrored(asked), sender=PodId("a", "two"))
    allowed = (*WORLD, OPEN_OUT, policy("a/in", select(app="two"), ingress=[rule(ports=[port(80)])]))
    assert decided(allowed, asked).allow
    assert decided(allowed, answer).allow
    assert not decided(WORLD, asked).allow


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_in_every_world_a_reply_passes_exactly_when_its_question_does(random: object):
    snapshot = world(random)  # type: ignore[arg-type]
    ruleset = compile_node(snapshot, None)
    for probe in probes(random, snapshot, 30):  # type: ignore[arg-type]
        asked = judge(ruleset, packet_of(snapshot, probe))
        answered = judge(ruleset, packet_of(snapshot, probe, Direction.REPLY))
        assert asked.allow == answered.allow, probe


# ICMP (stance 15)


def test_icmp_passes_only_by_a_rule_without_ports():
    with_ports = (*WORLD, OPEN_OUT, policy("a/in", select(app="two"), ingress=[rule(ports=[port(None)])]))
    without = (*WORLD, OPEN_OUT, policy("a/in", select(app="two"), ingress=[rule()]))
    for family in (4, 6):
        assert not ask(with_ports, "a/one", "a/two", protocol="ICMP", family=family).allow
        assert ask(without, "a/one", "a/two", protocol="ICMP", family=family).allow


@pytest.mark.parametrize(
    ("source", "target", "protocol", "kind"),
    [("10.44.1.10", "10.44.2.10", ICMP, 3), ("fd44:0:0:1::10", "fd44:0:0:2::10", ICMPV6, 2)],
    ids=["unreachable", "packet too big"],
)
def test_an_icmp_error_passes_for_a_known_flow_only(source: str, target: str, protocol: int, kind: int):
    error = packet(source, target, protocol, icmp_type=kind, sender=PodId("a", "one"))
    assert not decided(WORLD, error).allow
    assert decided(WORLD, replace(error, known_flow=True)).ingress.kind is Reason.ICMP_ERROR


def test_an_icmp_error_of_no_known_flow_answers_nothing():
    """Conntrack calls it invalid, but what it may do does not follow from what its target may send."""
    shut = (NODE1, NODE2, ONE, TWO, policy("a/shut", select(app="two"), ingress=[]))
    error = packet("203.0.113.9", "10.44.2.10", ICMP, icmp_type=3, direction=Direction.NONE)
    assert not decided(shut, error).allow
    assert decided(shut, replace(error, icmp_type=0)).allow, "an echo reply may answer what was not tracked"


def test_an_echo_request_is_no_error_even_if_its_flow_is_known():
    echo = packet("10.44.1.10", "10.44.2.10", ICMP, icmp_type=8, sender=PodId("a", "one"), known_flow=True)
    assert not decided(WORLD, echo).allow


# sources that lie (stance 23)


def test_a_pod_sends_from_its_own_addresses_only():
    lie = packet("10.44.2.10", "203.0.113.9", sender=PodId("a", "one"))
    verdict = decided((NODE1, NODE2, ONE, TWO), lie)
    assert verdict.egress.kind is Reason.SPOOFED
    assert "a/one" in verdict.egress.text
    assert not decided((NODE1, ONE), packet("192.0.2.1", "203.0.113.9", sender=PodId("a", "one"))).allow


def test_a_packet_from_outside_with_a_pods_source_is_dropped():
    assert not decided((NODE1, ONE, TWO), packet("10.44.1.10", "10.44.2.10")).allow


def test_a_lie_is_found_before_any_other_reason():
    lie = packet("10.44.2.10", "10.44.1.10", ICMP, icmp_type=3, sender=PodId("a", "one"), known_flow=True)
    assert not decided((NODE1, NODE2, ONE, TWO), lie).allow


# reasons


def test_an_open_side_says_that_nothing_isolates_it():
    verdict = ask((NODE1, NODE2, ONE, TWO), "a/one", "a/two")
    assert (verdict.egress.kind, verdict.ingress.kind) == (Reason.NOT_ISOLATED, Reason.NOT_ISOLATED)
    assert "a/two" in verdict.ingress.text


def test_an_end_that_is_no_pod_says_so():
    assert ask((NODE1, ONE), "203.0.113.9", "a/one").egress.kind is Reason.OUTSIDE
    assert ask((NODE1, ONE), "a/one", "203.0.113.9").ingress.kind is Reason.OUTSIDE


def test_the_rule_that_allows_is_named():
    guard = policy("a/guard", select(app="two"), [rule(block("192.0.2.0/24")), rule(Peer(pods=select(app="one")))])
    why = ask((NODE1, NODE2, space("a"), ONE, TWO, guard), "a/one", "a/two").ingress
    assert why.kind is Reason.RULE
    assert why.rule is not None
    assert (why.rule.policy, why.rule.index, why.policies) == (
        PolicyId("a", "guard"),
        1,
        (PolicyId("a", "guard"),),
    )


def test_a_denial_names_all_that_isolates_and_what_no_rule_allows():
    rules = [rule(block("192.0.2.0/24"), ports=[port(80)]), rule(ports=[port(81)])]
    guard = policy("a/guard", select(app="two"), rules)
    why = ask((NODE1, NODE2, space("a"), ONE, TWO, guard), "a/one", "a/two").ingress
    assert why.kind is Reason.ISOLATED
    assert why.text == "a/guard isolates a/two for ingress and no rule allows TCP port 80"
    assert why.policies == (PolicyId("a", "guard"),)


def test_facts_hold_both_sides_and_the_rule_by_its_name():
    facts = ask((*WORLD, OPEN_OUT), "a/one", "a/two").facts()
    assert facts["verdict"] == "deny"
    assert facts["egress"]["verdict"] == "allow"
    assert facts["egress"]["why"]["policy"] == "a/out"
    assert facts["egress"]["why"]["rule"] == 0
    assert facts["ingress"]["why"]["kind"] == "isolated"
    assert facts["ingress"]["why"]["policies"] == ["a/closed"]
