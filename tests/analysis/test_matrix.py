"""The matrix says of every pair, port and protocol what the judge says, and groups say all and some of their pairs."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, NODE2, block, pod, policy, port, rule, select, space
from vallum.analysis.matrix import Cell, Connection, Matrix
from vallum.analysis.parties import ELSEWHERE, By, Party, parties, usual
from vallum.analysis.ranges import EVERYTHING, NOTHING, Ports, both, either, holds, normal, texts, without
from vallum.model.address import Packed, pack
from vallum.model.objects import ICMP, PROTOCOLS, SCTP, TCP, UDP, Object, Peer, Pod, PodId
from vallum.model.packet import PORTED, Packet
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from vallum.policy.ruleset import PortMatch
from worlds import world

ANY_WORLD = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def services(snapshot: Snapshot) -> list[tuple[int, int]]:
    """Every protocol with every port at which something may change, and beside it; one portless protocol."""
    rules = [rule_ for one in snapshot.policies.values() for rule_ in (*(one.ingress or ()), *(one.egress or ()))]
    entries = [entry for rule_ in rules for entry in rule_.ports or ()]
    ends = {end for entry in entries if isinstance(entry.port, int) for end in (entry.port, entry.end or entry.port)}
    ends |= {named.number for one in snapshot.pods.values() for named in one.ports}
    numbers = {near for end in ends for near in (end - 1, end, end + 1) if 0 < near < 65536} | {65535}
    return [(protocol, number) for protocol in PROTOCOLS.values() for number in sorted(numbers)] + [(ICMP, 0)]


def pairs(source: Party, target: Party) -> Iterator[tuple[str, Packed, Packed]]:
    """The sender and the addresses of every pair of members, a member and itself left out."""
    for version in (4, 6):
        for one in source.members.get(version, ()):
            for other in target.members.get(version, ()):
                if one.name != other.name:
                    yield one.name, one.address, other.address


def judged(judge: Judge, source: Party, target: Party, asked: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """What the judge says of a pair of parties, service by service: yes, some or no."""
    found: dict[tuple[int, int], set[bool]] = {service: set() for service in asked}
    for name, one, other in pairs(source, target):
        sender = PodId(*name.split("/")) if source.inside else None
        for protocol, number in asked:
            packet = Packet(one, other, protocol, number, 40000 if number else 0, sender=sender)
            found[protocol, number].add(judge(packet).allow)
    words = {frozenset({True}): "yes", frozenset({False}): "no", frozenset({True, False}): "some"}
    return {service: words[frozenset(answers)] for service, answers in found.items() if answers}


@pytest.mark.parametrize("by", list(By))
@ANY_WORLD
@given(random=st.randoms(use_true_random=False))
def test_every_cell_is_what_the_judge_says_of_every_pair(by: By, random: Random):
    snapshot = world(random)
    matrix, judge, asked = Matrix(snapshot, by), Judge(compile_node(snapshot, None)), services(snapshot)
    for source in matrix.parties:
        for target in matrix.parties:
            cell = matrix.cell(source, target)
            if not (source.inside or target.inside):
                assert cell is None
                continue
            expected = judged(judge, source, target, asked)
            found = {service: cell.answer(*service) for service in asked} if cell and expected else {}
            assert found == expected, (source.name, target.name, cell)


# groups

WEB = tuple(Pod(PodId("shop", f"web-{n}"), (("app", "web"), ("n", n)), owner="Deployment/web") for n in "ab")
API = pod("shop/api", "10.44.2.10", node="node2", app="api")
WORLD: tuple[Object, ...] = (NODE1, NODE2, space("shop"), *WEB, API)
FROM_A = policy(
    "shop/guard", select(app="api"), [rule(Peer(pods=select(n="a")), ports=[port(80)]), rule(ports=[port(443)])]
)


def found_in(things: tuple[Object, ...], by: By, source: str, target: str) -> Cell | None:
    matrix = Matrix(snapshot_of(things), by)
    by_name = {party.name: party for party in matrix.parties}
    return matrix.cell(by_name[source], by_name[target])


def test_what_every_pair_has_and_what_only_some_have_are_told_apart():
    cell = found_in((*WORLD, FROM_A), By.WORKLOAD, "shop/Deployment/web", "shop/api")
    assert cell is not None
    assert (texts(cell.all), texts(cell.some)) == (["443/TCP"], ["80/TCP"])
    assert [cell.answer(TCP, number) for number in (443, 80, 81)] == ["yes", "some", "no"]


def test_a_pod_and_itself_are_no_pair_and_two_of_a_group_are():
    shut = policy("shop/shut", ingress=[])
    assert found_in((*WORLD, shut), By.POD, "shop/api", "shop/api") is None
    assert found_in((*WORLD, shut), By.WORKLOAD, "shop/Deployment/web", "shop/Deployment/web") == Cell(NOTHING, NOTHING)


def test_a_node_reaches_its_own_pods_whatever_isolates_them_and_others_not():
    shut = policy("shop/shut", ingress=[])
    assert found_in((*WORLD, shut), By.POD, "node node2", "shop/api") == Cell(EVERYTHING, NOTHING)
    assert found_in((*WORLD, shut), By.POD, "node node1", "shop/api") == Cell(NOTHING, NOTHING)


def test_two_ends_outside_are_no_pair():
    assert found_in(WORLD, By.POD, "node node1", ELSEWHERE) is None


def test_workloads_are_usual_where_pods_have_owners():
    assert usual(snapshot_of(WORLD)) is By.WORKLOAD
    assert usual(snapshot_of((NODE1, API))) is By.POD


def test_pods_on_the_hosts_network_belong_to_the_node():
    host = pod("shop/host", node="node9", host_network=True)
    names = [party.name for party in parties(snapshot_of((*WORLD, host)), By.POD)]
    assert "node node9" in names
    assert "shop/host" not in names


# ranges outside


def ranges(*blocks: Peer) -> list[str]:
    found = parties(snapshot_of((*WORLD, policy("shop/p", ingress=[rule(*blocks)]))), By.POD)
    return [party.name for party in found if party.kind == "outside"]


def test_blocks_cut_the_outside_into_ranges_named_by_their_edges():
    assert ranges(block("203.0.113.0/24", "203.0.113.64/26"), block("10.0.0.0/8")) == [
        "outside 10.0.0.0/8",
        "outside 203.0.113.0/24 except 203.0.113.64/26",
        "outside 203.0.113.64/26",
        ELSEWHERE,
    ]


def test_a_range_that_only_pods_have_is_nobody_outside():
    assert ranges(block("10.44.2.10/32")) == [ELSEWHERE]


def test_a_block_of_all_addresses_leaves_the_rest_to_the_other_family():
    matrix = Matrix(snapshot_of((*WORLD, policy("shop/p", ingress=[rule(block("0.0.0.0/0"))]))), By.POD)
    rest = next(party for party in matrix.parties if party.name == ELSEWHERE)
    assert set(rest.members) == {6}


def test_many_exceptions_are_counted_and_the_address_is_in_none_of_them():
    cuts = [f"10.{n}.0.0/16" for n in range(5)]
    (found,) = [
        party
        for party in parties(snapshot_of((API, policy("shop/p", ingress=[rule(block("10.0.0.0/8", *cuts))]))), By.POD)
        if party.name.startswith("outside 10.0.0.0/8")
    ]
    assert found.name == "outside 10.0.0.0/8 except 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16 and 2 more"
    assert found.members[4][0].address == pack(ip_address("10.5.0.0"))
    assert found.covers(pack(ip_address("10.99.0.1")))
    assert not found.covers(pack(ip_address("10.3.0.1")))
    assert found.ranges[0][1] == tuple(map(ip_network, cuts))


# sets of services

MATCHES = st.builds(
    lambda protocol, ends: PortMatch(protocol, min(ends), max(ends)),
    st.sampled_from([0, TCP, UDP, SCTP]),
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
)
SETS = st.lists(MATCHES, max_size=4).map(normal)
SERVICES = st.tuples(st.sampled_from([TCP, UDP, SCTP]), st.integers(0, 65535))


@given(SETS, SETS, SERVICES)
def test_sets_of_services_add_and_take_away_service_by_service(one: Ports, other: Ports, service: tuple[int, int]):
    in_one, in_other = holds(one, *service), holds(other, *service)
    assert holds(both(one, other), *service) == (in_one and in_other)
    assert holds(either(one, other), *service) == (in_one or in_other)
    assert holds(without(one, other), *service) == (in_one and not in_other)


@given(SETS)
def test_everything_and_nothing_are_sets_like_any_other(one: Ports):
    assert both(one, EVERYTHING) == one == either(one, NOTHING)
    assert without(one, EVERYTHING) == NOTHING == without(one, one)
    assert either(without(EVERYTHING, one), one) == EVERYTHING


def test_services_are_written_as_people_write_them():
    ports = normal([PortMatch(TCP, 80, 80), PortMatch(TCP, 81, 90), PortMatch(UDP, 0, 65535), PortMatch(0, 0, 65535)])
    assert texts(ports) == ["portless", "80-90/TCP", "UDP"]
    assert texts(EVERYTHING) == ["everything"]


def test_every_protocol_that_has_ports_is_a_part_of_everything():
    assert {match.protocol for match in EVERYTHING} == {0, *PORTED}


def test_the_facts_list_parties_and_connections():
    matrix = Matrix(snapshot_of((*WORLD, FROM_A)), By.WORKLOAD)
    facts = matrix.facts(matrix.connections())
    assert {"name": "shop/Deployment/web", "kind": "workload", "pods": ["shop/web-a", "shop/web-b"]} in facts["parties"]
    assert {"from": "shop/Deployment/web", "to": "shop/api", "all": ["443/TCP"], "some": ["80/TCP"]} in facts[
        "connections"
    ]
    assert all(isinstance(one, Connection) for one in matrix.connections())
