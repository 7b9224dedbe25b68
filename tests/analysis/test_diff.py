"""What opens and closes between two worlds is what the judge answers differently, the mirror of the way back."""

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, NODE2, block, pod, policy, port, rule, select, space
from vallum.analysis.causes import Cause
from vallum.analysis.diff import Change, Difference, diff
from vallum.analysis.parties import By
from vallum.analysis.probe import Ends, parse
from vallum.analysis.ranges import holds, texts
from vallum.model.errors import InputError
from vallum.model.objects import Object, Peer, Pod, PodId, Policy, PolicyId
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.model.spaces import Spaces
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from worlds import OUTSIDE, world

ANY_WORLDS = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
SERVICES = [("TCP", 80), ("TCP", 443), ("TCP", 5000), ("TCP", 5004), ("UDP", 80), ("UDP", 5010), ("SCTP", 443)]
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}


def changed(random: Random, before: Snapshot) -> Snapshot:
    """The same cluster with some policies of another, and here and there a label."""
    other = world(random)
    policies = [one for one in before.policies.values() if random.random() < 0.7]
    policies += [one for one in other.policies.values() if random.random() < 0.3]
    pods = before.pods
    for id_ in random.sample(sorted(pods), k=random.randint(0, 2)):
        labels = random.choice(list(before.pods.values())).labels
        pods = pods.changed({id_: replace(pods[id_], labels=labels)})
    return replace(before, policies=Spaces[PolicyId, Policy].of(policies), pods=pods)


def answers(snapshot: Snapshot) -> dict[tuple[str, str, str, int, int], bool]:
    """What the judge says of every pair of ends of which one is a pod, for some services."""
    ends, judge = Ends(snapshot), Judge(compile_node(snapshot, None))
    pods = [str(id_) for id_, one in snapshot.pods.items() if not one.finished]
    asked = [(one, other) for one in pods for other in (*pods, *OUTSIDE) if one != other]
    found = {}
    for source, target in [*asked, *((b, a) for a, b in asked if b in OUTSIDE)]:
        for family in (4, 6):
            for protocol, number in [*SERVICES, ("ICMP", 0)]:
                line = {"from": source, "to": target, "protocol": protocol, "port": number, "family": family}
                try:
                    found[source, target, protocol, number, family] = judge(ends.packet(parse(line))).allow
                except InputError:
                    continue
    return found


def row_of(snapshot: Snapshot, difference_rows: set[str], end: str) -> set[str]:
    """The rows by which a difference may call an end."""
    if "/" not in end:
        return {row for row in difference_rows if row.startswith(("outside", "anywhere"))}
    one = snapshot.pods[PodId(*end.split("/"))]
    return {f"node {one.node}"} if one.host_network else {end}


@ANY_WORLDS
@given(st.randoms(use_true_random=False))
def test_what_the_judge_answers_differently_is_listed_as_opened_or_closed(random: Random):
    old = world(random)
    new = changed(random, old)
    found = diff(old, new, By.POD)
    before, after = answers(old), answers(new)
    assert before.keys() == after.keys()
    names = {name for change in (*found.opened, *found.closed) for name in (change.source, change.target)}
    for key in before:
        source, target, protocol, number, _ = key
        if before[key] != after[key]:
            listed = found.opened if after[key] else found.closed
            sources, targets = row_of(old, names, source), row_of(old, names, target)
            assert any(
                change.source in sources
                and change.target in targets
                and (holds(change.all, NUMBERS[protocol], number) or holds(change.some, NUMBERS[protocol], number))
                for change in listed
            ), key
    if found.empty:
        assert before == after


@ANY_WORLDS
@given(st.randoms(use_true_random=False))
def test_what_opens_for_every_pair_of_two_pods_is_answered_so_by_the_judge(random: Random):
    old = world(random)
    new = changed(random, old)
    found = diff(old, new, By.POD)
    before, after = answers(old), answers(new)
    for changes, opens in ((found.opened, True), (found.closed, False)):
        for change in changes:
            for (source, target, protocol, number, _), allowed in before.items():
                if (source, target) == (change.source, change.target) and holds(change.all, NUMBERS[protocol], number):
                    key = (source, target, protocol, number, _)
                    assert (allowed, after[key]) == (not opens, opens), (key, change)


@ANY_WORLDS
@given(st.randoms(use_true_random=False), st.sampled_from(list(By)))
def test_a_world_does_not_differ_from_itself(random: Random, by: By):
    snapshot = world(random)
    assert diff(snapshot, snapshot, by).empty


MIRRORED = {
    "allows it": "no longer allows it",
    "no longer allows it": "allows it",
    "isolates": "no longer isolates",
    "no longer isolates": "isolates",
}


def mirrored(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(
        replace(
            change, because=tuple(sorted(replace(cause, effect=MIRRORED[cause.effect]) for cause in change.because))
        )
        for change in changes
    )


@ANY_WORLDS
@given(st.randoms(use_true_random=False))
def test_the_way_back_is_the_mirror(random: Random):
    old = world(random)
    new = changed(random, old)
    new = replace(new, pods=new.pods.changed(dict.fromkeys(random.sample(sorted(old.pods), k=2))))
    there, back = diff(old, new, By.POD), diff(new, old, By.POD)
    assert back == Difference(
        By.POD,
        mirrored(there.closed),
        mirrored(there.opened),
        there.gone,
        there.new,
        there.closed_by_gone,
        there.opened_by_new,
    )


# what is said

WEB = pod("shop/web", "10.44.1.10", app="web")
API = pod("shop/api", "10.44.2.10", node="node2", app="api")
WORLD: tuple[Object, ...] = (NODE1, NODE2, space("shop"), WEB, API)
GUARD = policy("shop/guard", select(app="api"), [rule(Peer(pods=select(app="web")), ports=[port(80)])])


def told(old: tuple[Object, ...], new: tuple[Object, ...], by: By = By.POD) -> Difference:
    return diff(snapshot_of(old), snapshot_of(new), by)


def between(changes: tuple[Change, ...], source: str, target: str) -> Change:
    (found,) = [change for change in changes if (change.source, change.target) == (source, target)]
    return found


def test_a_policy_that_isolates_closes_and_is_named():
    found = told(WORLD, (*WORLD, GUARD))
    assert found.opened == ()
    change = between(found.closed, "shop/web", "shop/api")
    assert texts(change.all) == ["portless", "0-79/TCP", "81-65535/TCP", "UDP", "SCTP"]
    assert change.because == (Cause("shop/guard", "ingress", -1, "isolates"),)
    assert str(change.because[0]) == "shop/guard isolates for ingress"
    assert texts(between(found.closed, "anywhere else", "shop/api").all) == ["everything"]


def test_a_rule_that_allows_more_opens_and_is_named():
    wider = policy("shop/guard", select(app="api"), [*(GUARD.ingress or ()), rule(ports=[port(443)])])
    found = told((*WORLD, GUARD), (*WORLD, wider))
    change = between(found.opened, "shop/web", "shop/api")
    assert texts(change.all) == ["443/TCP"]
    assert [str(cause) for cause in change.because] == ["shop/guard ingress[1] allows it"]
    assert found.closed == ()


def test_a_label_change_shows_as_the_rule_that_allows_no_more():
    other = (NODE1, NODE2, space("shop"), replace(WEB, labels=(("app", "old"),)), API, GUARD)
    found = told((*WORLD, GUARD), other)
    change = between(found.closed, "shop/web", "shop/api")
    assert texts(change.all) == ["80/TCP"]
    assert [str(cause) for cause in change.because] == ["shop/guard ingress[0] no longer allows it"]


def test_a_change_of_yaml_that_means_the_same_is_no_difference():
    same = policy("shop/renamed", GUARD.pods, [rule(Peer(pods=select(app="web")), ports=[port(80), port(80, 80)])])
    assert told((*WORLD, GUARD), (*WORLD, same)).empty


def test_what_pods_of_one_world_only_may_do_is_told_apart():
    late = pod("shop/late", "10.44.1.30", app="web")
    found = told((*WORLD, GUARD), (*WORLD, GUARD, late))
    assert (found.new, found.gone, found.opened, found.closed) == (("shop/late",), (), (), ())
    assert texts(between(found.opened_by_new, "shop/late", "shop/api").all) == ["80/TCP"]
    assert not found.empty


def test_a_pod_that_came_back_with_another_address_is_the_same_pod():
    moved = replace(WEB, addresses=(ip_address("10.44.2.77"),), node="node2")
    found = told((*WORLD, GUARD), (NODE1, NODE2, space("shop"), moved, API, GUARD))
    assert (found.new, found.gone) == ((), ())
    assert [(change.source, change.target) for change in found.opened] == []


def test_ranges_are_cut_by_the_blocks_of_both_worlds():
    old = policy("shop/guard", select(app="api"), [rule(block("203.0.113.0/24"))])
    new = policy("shop/guard", select(app="api"), [rule(block("203.0.113.0/24", "203.0.113.64/26"))])
    found = told((*WORLD, old), (*WORLD, new))
    assert [(change.source, change.target) for change in found.closed] == [("outside 203.0.113.64/26", "shop/api")]


@pytest.mark.parametrize("by", [By.WORKLOAD, By.NAMESPACE])
def test_of_groups_it_says_what_changed_for_all_pairs_and_what_for_some(by: By):
    two = tuple(Pod(PodId("shop", name), (("app", "web"), ("n", name)), owner="Deployment/web") for name in ("a", "b"))
    narrow = policy("shop/guard", select(app="api"), [rule(Peer(pods=select(n="a")), ports=[port(80)])])
    shut = policy("shop/guard", select(app="api"), [])
    found = told((NODE1, space("shop"), *two, API, shut), (NODE1, space("shop"), *two, API, narrow), by)
    (change,) = found.opened
    assert (texts(change.all), texts(change.some)) == ([], ["80/TCP"])
    assert change.source == ("shop/Deployment/web" if by is By.WORKLOAD else "shop")


def test_ends_that_were_never_there_together_are_no_pair():
    """All pods of the workload were replaced: what opened did so for every pair that there was."""
    before, after = (Pod(PodId("shop", name), (("app", "web"),), owner="Deployment/web") for name in ("a", "b"))
    kept = Pod(PodId("shop", "k"), (("app", "web"),), owner="Deployment/web")
    shut = policy("shop/guard", select(app="web"), [])
    found = told((NODE1, space("shop"), before, kept, API, shut), (NODE1, space("shop"), after, kept, API), By.WORKLOAD)
    change = between(found.opened, "shop/api", "shop/Deployment/web")
    assert (texts(change.all), texts(change.some)) == (["everything"], [])


def test_the_facts_name_ends_ports_and_causes():
    facts = told(WORLD, (*WORLD, policy("shop/shut", select(app="api"), []))).facts()
    assert facts["by"] == "pod"
    assert facts["opened"] == facts["opened_by_new"] == facts["closed_by_gone"] == []
    assert {
        "from": "shop/web",
        "to": "shop/api",
        "all": ["everything"],
        "some": [],
        "because": [{"policy": "shop/shut", "direction": "ingress", "effect": "isolates"}],
    } in facts["closed"]
