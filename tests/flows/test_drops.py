"""A recorded drop with the names of its ends and the compiler's reason, kept in a ring that does not grow."""

from ipaddress import ip_address

from build import NODE1, NODE2, pod, policy, rule, select, space
from vallum.analysis.asked import Asked
from vallum.dataplane import Denial
from vallum.flows.drops import Drop, Drops
from vallum.lab import wire
from vallum.model.objects import TCP, Peer
from vallum.model.snapshot import snapshot_of
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from vallum.policy.ruleset import Way

ONE = pod("a/one", "10.44.1.10", app="one")
TWO = pod("a/two", "10.44.1.20", app="two")
CLOSED = policy("a/closed", select(app="two"), ingress=[])
WORLD = (NODE1, NODE2, space("a"), ONE, TWO)


def syn(source: str, target: str, sport: int = 40000, dport: int = 80) -> bytes:
    ends = ip_address(source), ip_address(target)
    return wire.ip_packet(*ends, TCP, wire.transport(*ends, TCP, (sport, dport), b""))


def joined(denial: Denial, *things: object, drops: Drops | None = None) -> Drop | None:
    snapshot = snapshot_of((*WORLD, *things))  # type: ignore[arg-type]
    return (drops or Drops()).add(denial, Judge(compile_node(snapshot, "node1")), Asked(snapshot))


def test_a_drop_names_both_pods_and_what_isolates():
    drop = joined(Denial(Way.INGRESS, reply=False, packet=syn("10.44.1.10", "10.44.1.20")), CLOSED)
    assert drop is not None
    assert (drop.source, drop.destination) == ("a/one", "a/two")
    assert drop.reason.startswith("a/closed isolates a/two for ingress")


def test_an_end_that_is_no_pod_of_ours_is_shown_as_its_address():
    drop = joined(Denial(Way.INGRESS, reply=False, packet=syn("203.0.113.9", "10.44.1.20")), CLOSED)
    assert drop is not None
    assert drop.source == "203.0.113.9"


def test_a_dropped_reply_is_judged_as_the_question_that_it_answers():
    drop = joined(Denial(Way.INGRESS, reply=True, packet=syn("10.44.1.20", "10.44.1.10", 80, 40000)), CLOSED)
    assert drop is not None
    assert "a/closed isolates a/two for ingress" in drop.reason
    assert "port 80" in drop.reason


def test_the_egress_side_has_its_own_reason():
    shut = policy("a/shut", select(app="one"), egress=[])
    drop = joined(Denial(Way.EGRESS, reply=False, packet=syn("10.44.1.10", "10.44.1.20")), shut)
    assert drop is not None
    assert drop.reason.startswith("a/shut isolates a/one for egress")


def test_the_reason_ends_with_the_nearest_miss_of_the_side_that_dropped_it():
    wanted = policy("a/wanted", select(app="two"), ingress=[rule(Peer(pods=select(app="three")))])
    for reply, packet in ((False, syn("10.44.1.10", "10.44.1.20")), (True, syn("10.44.1.20", "10.44.1.10", 80, 40000))):
        drop = joined(Denial(Way.INGRESS, reply=reply, packet=packet), wanted)
        assert drop is not None
        assert drop.reason.endswith("; nearest: a/wanted ingress[0], which lacks label app=three on a/one")


def test_a_lie_about_the_source_is_said_to_be_one():
    denial = Denial(Way.EGRESS, reply=False, packet=syn("192.0.2.1", "10.44.1.20"), spoofed=True)
    drop = joined(denial)
    assert drop is not None
    assert drop.reason.startswith("192.0.2.1 is not an address")


def test_a_drop_of_a_rule_that_is_gone_says_so():
    opened = policy("a/opened", select(app="two"), ingress=[rule()])
    drop = joined(Denial(Way.INGRESS, reply=False, packet=syn("10.44.1.10", "10.44.1.20")), opened)
    assert drop is not None
    assert drop.reason.startswith("denied by an earlier revision; now: ")


def test_what_is_no_packet_is_counted_and_not_kept():
    drops = Drops()
    assert joined(Denial(Way.INGRESS, reply=False, packet=b"\x99"), drops=drops) is None
    assert (drops.count, len(drops.ring)) == (1, 0)


def test_the_ring_keeps_the_newest_and_the_count_goes_on():
    drops = Drops(size=3)
    for number in range(1, 6):
        joined(Denial(Way.INGRESS, reply=False, packet=syn("203.0.113.9", "10.44.1.20", number)), CLOSED, drops=drops)
    assert drops.count == 5
    assert [drop.header.sport for drop in drops.ring] == [3, 4, 5]
    assert drops.ring[-1].facts()["serial"] == 5
