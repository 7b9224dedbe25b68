"""The nearest miss: what is proposed makes the packet pass, nothing shorter does, and the words say what to change."""

from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, NODE2, block, pod, policy, port, rule, select, space
from vallum.analysis.asked import Asked
from vallum.analysis.explain import Explanation, explain
from vallum.analysis.misses import Miss, Steps
from vallum.analysis.near import Question, nearest, side_of
from vallum.analysis.probe import Ends, Probe, parse
from vallum.analysis.steps import Label, NamespaceLabel, Port, PortName, Protocol, Step, apply
from vallum.model.errors import InputError
from vallum.model.objects import NAME_LABEL, PROTOCOLS, UDP, NamedPort, Object, Peer
from vallum.model.packet import PORTED
from vallum.model.selector import Operator, Requirement, Selector
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge
from vallum.policy.ruleset import Way
from vallum.policy.verdict import Reason, Verdict
from worlds import documents, probes, read, world

ANY_WORLD = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def whole(snapshot: Snapshot, probe: Probe) -> Verdict:
    """The judge over everything, without any short cut."""
    return judge(compile_node(snapshot, None), Ends(snapshot).packet(probe))


def asked_of(random: Random, snapshot: Snapshot, count: int) -> list[Probe]:
    """Random questions; those about a flow that was asked before have no place here."""
    lines = (probe.line(number) for number, probe in enumerate(probes(random, snapshot, count)))
    return [parse({key: value for key, value in line.items() if key != "of"}) for line in lines]


def answered(random: Random, count: int) -> Iterator[tuple[Snapshot, Probe, Explanation]]:
    snapshot = world(random)
    asked = Asked(snapshot)
    for probe in asked_of(random, snapshot, count):
        yield snapshot, probe, explain(asked, probe)


@ANY_WORLD
@given(st.randoms(use_true_random=False))
def test_the_part_of_the_world_about_two_ends_judges_as_the_whole_world_does(random: Random):
    for snapshot, probe, found in answered(random, 20):
        assert found.verdict == whole(snapshot, probe), probe


@ANY_WORLD
@given(st.randoms(use_true_random=False))
def test_what_is_proposed_makes_the_packet_pass_in_the_whole_world(random: Random):
    for snapshot, probe, found in answered(random, 20):
        if found.near.proposal:
            assert not found.verdict.allow
            assert whole(*apply(found.near.proposal, snapshot, probe)).allow, (probe, found.lines)


@ANY_WORLD
@given(st.randoms(use_true_random=False))
def test_the_nearest_miss_of_a_side_makes_that_side_allow(random: Random):
    for snapshot, probe, found in answered(random, 20):
        for way in Way:
            miss = found.near.side(way)
            if miss is not None:
                assert side_of(found.verdict, way).kind is Reason.ISOLATED
                assert miss.rule.policy in side_of(found.verdict, way).policies
                assert side_of(whole(*apply(miss.steps, snapshot, probe)), way).allow, (probe, found.lines)


def with_rivals(random: Random, count: int) -> Iterator[tuple[Snapshot, Probe]]:
    """Questions about worlds in which two pods may claim one address; those that can be asked."""
    snapshot = read(documents(random, twins=True))
    ends = Ends(snapshot)
    for probe in asked_of(random, snapshot, count):
        with suppress(InputError):
            ends.packet(probe)
            yield snapshot, probe


class Slowly(Question):
    """The same search without short cuts: the whole world is compiled for each try, and every miss is spelled out."""

    def __init__(self, snapshot: Snapshot, probe: Probe) -> None:
        super().__init__(Asked(snapshot), probe)
        self.asked = snapshot, probe

    def verdict(self, steps: Steps = ()) -> Verdict:
        return whole(*apply(steps, *self.asked))

    def screened(self, steps: Steps) -> Verdict | None:
        try:
            return self.verdict(steps)
        except InputError:
            return None

    def misses(self, way: Way, verdict: Verdict, count: int, steps: Steps = ()) -> list[Miss]:
        return super().misses(way, verdict, 1000, steps)[:count]

    def together(self, found: dict[Way, list[Miss]], least: int) -> Steps:
        tries: list[Steps] = []
        for way, first in [(way, miss) for way, side in found.items() for miss in side[:3]]:
            other = Way.EGRESS if way is Way.INGRESS else Way.INGRESS
            verdict = self.screened(first.steps)
            if verdict and side_of(verdict, way).allow and not side_of(verdict, other).allow:
                tries += [(*first.steps, *one.steps) for one in self.misses(other, verdict, 3, first.steps)]
        apart = [steps for steps in tries if len({step.fact for step in steps}) == len(steps)]
        good = [steps for steps in apart if self.passes(steps) and (not least or len(steps) < least)]
        return min(good, key=len, default=())


@settings(ANY_WORLD, max_examples=15)
@given(st.randoms(use_true_random=False))
def test_the_short_cuts_of_the_search_change_no_answer(random: Random):
    for snapshot, probe in with_rivals(random, 12):
        quick, slow = Question(Asked(snapshot), probe), Slowly(snapshot, probe)
        assert nearest(quick, quick.verdict()) == nearest(slow, slow.verdict()), probe


def single_steps(snapshot: Snapshot, probe: Probe) -> Iterator[Step]:
    """Every label, port, port name and protocol that could be another, by trying values that occur anywhere."""
    ends = Ends(snapshot)
    requirements = {one for policy_ in snapshot.policies.values() for one in selectors(policy_.ingress, policy_.egress)}
    for end in {ends.end(text).pod for text in (probe.source_end, probe.target_end)} - {None}:
        assert end is not None
        for one in requirements:
            for value in (*one.values, None):
                yield Label(end, one.key, value)
                if one.key != NAME_LABEL and end.namespace in snapshot.namespaces:
                    yield NamespaceLabel(end.namespace, one.key, value)
    if probe.protocol in PORTED:
        yield from (Port(number, number, number, probe.port) for number in (1, 80, 81, 443, 5000, 5004, 5010))
        yield from (Protocol(number, probe.protocol) for number in PROTOCOLS.values() if number != probe.protocol)
    target = ends.end(probe.target_end).pod
    if target is not None and probe.protocol in PORTED:
        taken = {(one.name, one.protocol) for one in snapshot.pods[target].ports}
        names = {(name, probe.protocol) for name in ("http", "dns")} - taken
        yield from (PortName(target, NamedPort(name, protocol, probe.port)) for name, protocol in names)


def selectors(*sides: object) -> Iterator[Requirement]:
    for rules in sides:
        for rule_ in rules or ():  # type: ignore[attr-defined]
            for peer in rule_.peers or ():
                for selector in (peer.pods, peer.namespaces):
                    yield from selector.requirements if selector else ()


def admitted(before: Verdict, after: Verdict) -> bool:
    """Reports whether rules of the policies that isolated now allow what these policies denied."""
    denied = [way for way in Way if not side_of(before, way).allow]
    return after.allow and all(
        (rule_ := side_of(after, way).rule) is not None and rule_.policy in side_of(before, way).policies
        for way in denied
    )


@settings(ANY_WORLD, max_examples=25)
@given(st.randoms(use_true_random=False))
def test_where_one_step_would_do_no_more_are_proposed(random: Random):
    for snapshot, probe, found in answered(random, 8):
        if found.verdict.allow or Reason.SPOOFED in (found.verdict.egress.kind, found.verdict.ingress.kind):
            continue
        for step in single_steps(snapshot, probe):
            changed, asked = apply((step,), snapshot, probe)
            if (changed, asked) == (snapshot, probe):
                continue
            try:
                after = whole(changed, asked)
            except InputError:
                continue
            if admitted(found.verdict, after):
                assert len(found.near.proposal) == 1, (probe, step, found.lines)
                break


# what is said

WEB = pod("shop/web", "10.44.1.10", app="web")
API = pod("shop/api", "10.44.2.10", node="node2", app="api")
DB = pod("data/db", "10.44.2.11", node="node2", ports=[NamedPort("pg", 6, 5432)], app="db")
WORLD: tuple[Object, ...] = (NODE1, NODE2, space("shop"), space("data"), WEB, API, DB)
TEAM_A = Selector((Requirement("team", Operator.IN, ("a",)),))


def guard(*rules: object) -> Object:
    return policy("data/guard", select(app="db"), rules)  # type: ignore[arg-type]


def proposed(things: tuple[Object, ...], source: str, target: str = "data/db", **more: object) -> tuple[str, ...]:
    found = explain(Asked(snapshot_of((*WORLD, *things))), parse({"from": source, "to": target, "port": 5432} | more))
    return tuple(map(str, found.near.proposal))


FROM_API = Peer(pods=select(app="api"), namespaces=Selector())


@pytest.mark.parametrize(
    ("rules", "source", "more", "steps"),
    [
        ([rule(FROM_API)], "shop/web", {}, ["label app=api on shop/web"]),
        ([rule(Peer(namespaces=TEAM_A))], "shop/web", {}, ["namespace label team=a on shop"]),
        ([rule(ports=[port(5432)])], "shop/web", {"port": 5433}, ["port 5432, asked 5433"]),
        ([rule(ports=[port(5000, 5010)])], "shop/web", {"port": 80}, ["port 5000-5010, asked 80"]),
        ([rule(ports=[port(5432)])], "shop/web", {"protocol": "UDP"}, ["protocol TCP, asked UDP"]),
        (
            [rule(ports=[port(5432)])],
            "shop/web",
            {"protocol": "ICMP"},
            ["protocol TCP, asked ICMP", "port 5432, asked none"],
        ),
        ([rule(ports=[port("pg")])], "shop/web", {"port": 80}, ["port 5432 (pg on data/db), asked 80"]),
        ([rule(ports=[port("http")])], "shop/web", {"port": 80}, ["port 80/TCP named http on data/db"]),
        (
            [rule(ports=[port("http", protocol=UDP)])],
            "shop/web",
            {"protocol": "UDP", "port": 53},
            ["port 53/UDP named http on data/db"],
        ),
        ([rule(block("10.0.0.0/8"))], "203.0.113.9", {}, ["address inside 10.0.0.0/8 (203.0.113.9 is not)"]),
        (
            [rule(block("203.0.113.0/24", "203.0.113.0/28"))],
            "203.0.113.9",
            {},
            ["address inside 203.0.113.0/24 except 203.0.113.0/28 (203.0.113.9 is not)"],
        ),
        ([rule(block("192.168.0.0/16"))], "shop/web", {}, ["address inside 192.168.0.0/16 (10.44.1.10 is not)"]),
    ],
    ids=str,
)
def test_a_step_names_the_fact_and_what_it_would_have_to_be(
    rules: list[object], source: str, more: dict[str, object], steps: list[str]
):
    assert proposed((guard(*rules),), source, **more) == tuple(steps)


@pytest.mark.parametrize(
    ("operator", "values", "step"),
    [
        (Operator.NOT_IN, ("web",), "no label app on shop/web"),
        (Operator.DOES_NOT_EXIST, (), "no label app on shop/web"),
        (Operator.IN, ("api", "db"), "label app=api on shop/web"),
    ],
)
def test_each_operator_has_its_cure(operator: Operator, values: tuple[str, ...], step: str):
    peer = Peer(Selector((Requirement("app", operator, values),)), Selector())
    assert proposed((guard(rule(peer)),), "shop/web") == (step,)


def test_a_label_that_must_exist_may_have_any_value():
    peer = Peer(Selector((Requirement("tier", Operator.EXISTS),)), Selector())
    assert proposed((guard(rule(peer)),), "shop/web") == ("label tier on shop/web",)


@pytest.mark.parametrize(
    "peer",
    [
        Peer(namespaces=Selector((Requirement(NAME_LABEL, Operator.IN, ("data",)),))),
        Peer(pods=select(app="web")),
        block("2001:db8::/32"),
        Peer(),
    ],
    ids=["the name of a namespace", "another namespace", "another family", "nothing"],
)
def test_what_cannot_be_changed_is_not_proposed(peer: Peer):
    things = (guard(rule(peer)),)
    found = explain(Asked(snapshot_of((*WORLD, *things))), parse({"from": "shop/web", "to": "data/db", "port": 5432}))
    assert found.near.proposal == ()
    assert found.near.ingress is None
    assert found.lines[-1] == "  no change of labels, ports or addresses makes rules of these policies allow it"


def test_the_fewest_changes_win_and_ties_go_by_policy_name_then_rule():
    far = rule(Peer(select(app="api"), TEAM_A), ports=[port(1)])
    named = [policy(f"data/{name}", select(app="db"), [far, rule(FROM_API), rule(FROM_API)]) for name in ("b", "a")]
    found = explain(Asked(snapshot_of((*WORLD, *named))), parse({"from": "shop/web", "to": "data/db", "port": 5432}))
    assert found.near.ingress is not None
    assert str(found.near.ingress.rule) == "data/a ingress[1]"


def test_a_nearer_rule_that_would_not_help_is_passed_over():
    """Port 80 fits the nearest rule, but the sender may only send to 5432."""
    things = (
        guard(rule(ports=[port(80)]), rule(Peer(select(app="api"), TEAM_A), ports=[port(5432)])),
        policy("shop/out", select(app="web"), egress=[rule(ports=[port(5432)])]),
        policy("shop/out-too", select(app="api"), egress=[rule(ports=[port(5432)])]),
    )
    assert proposed(things, "shop/web") == ("label app=api on shop/web", "namespace label team=a on shop")


def test_where_both_sides_deny_each_has_its_miss_and_one_step_may_serve_both():
    out = policy("shop/out", select(app="web"), egress=[rule(ports=[port(5432)])])
    things = snapshot_of((*WORLD, guard(rule(ports=[port(5432)])), out))
    found = explain(Asked(things), parse({"from": "shop/web", "to": "data/db", "port": 80}))
    assert found.near.ingress is not None
    assert found.near.egress is not None
    assert found.lines[-1] == "  it would pass with: port 5432, asked 80"


def test_where_one_step_on_each_side_is_needed_it_says_that_no_single_one_would_do():
    out = policy("shop/out", select(app="web"), egress=[rule(Peer(select(role="store"), Selector()))])
    things = snapshot_of((*WORLD, guard(rule(Peer(namespaces=TEAM_A))), out))
    found = explain(Asked(things), parse({"from": "shop/web", "to": "data/db", "port": 80}))
    steps = "namespace label team=a on shop; label role=store on data/db"
    assert found.lines[-1] == f"  no single step would do; it would pass with all of: {steps}"
    assert [step.fact for step in found.near.proposal] == [
        ("namespace label", "shop", "team"),
        ("label", "data/db", "role"),
    ]


def test_what_is_allowed_or_spoofed_has_no_nearest_miss():
    spoof = {"from": "shop/web", "to": "data/db", "port": 80, "source": "192.0.2.1"}
    for line in (spoof, {"from": "shop/web", "to": "shop/api", "port": 80}):
        found = explain(Asked(snapshot_of((*WORLD, guard()))), parse(line))
        assert (found.near.ingress, found.near.egress, found.near.proposal) == (None, None, ())


def test_the_facts_hold_rule_steps_and_proposal():
    found = explain(
        Asked(snapshot_of((*WORLD, guard(rule(FROM_API))))), parse({"from": "shop/web", "to": "data/db", "port": 80})
    )
    step = {
        "kind": "label",
        "pod": "shop/web",
        "key": "app",
        "value": "api",
        "text": "label app=api on shop/web",
    }
    facts = found.facts()
    assert facts["ingress"]["why"]["near"] == {"policy": "data/guard", "rule": 0, "steps": [step]}
    assert facts["proposal"] == [step]
