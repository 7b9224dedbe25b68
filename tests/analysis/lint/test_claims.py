"""What the rules claim is true: what they call useless can go, and no verdict changes; and no world makes them fall.

Random worlds, with contradictions, typos and repetitions sown in, judged before and after.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from packets import packet_of
from vallum.analysis.lint import Finding, Written, lint
from vallum.analysis.lint.finding import show_place
from vallum.analysis.lint.table import RULES
from vallum.model.objects import Peer, Policy, PolicyId, PolicyRule
from vallum.model.snapshot import Snapshot
from vallum.model.spaces import Spaces
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from worlds import probes, world

PROBES = 80
seeds = st.integers(0, 10**9)


def sown(random: Random) -> Snapshot:
    """A random world with more repetition than chance gives it."""
    snapshot = world(random, policies=9)
    policies = {}
    for id_, policy in snapshot.policies.items():
        policies[id_] = replace(policy, ingress=_sown(random, policy.ingress), egress=_sown(random, policy.egress))
        if random.random() < 0.3:
            copy = PolicyId(id_.namespace, f"{id_.name}-again")
            policies[copy] = replace(policies[id_], id=copy)
    return replace(snapshot, policies=Spaces.of(policies.values()))


def _sown(random: Random, rules: tuple[PolicyRule, ...] | None) -> tuple[PolicyRule, ...] | None:
    if not rules or random.random() < 0.3:
        return rules
    rule = random.choice(rules)
    more = (
        rule,
        replace(rule, peers=rule.peers and rule.peers[:1]),
        replace(rule, ports=rule.ports and rule.ports[:1]),
        replace(rule, peers=rule.peers and (*rule.peers, *rule.peers)),
        replace(rule, ports=rule.ports and (*rule.ports, *rule.ports)),
        PolicyRule(),
    )
    return (*rules, random.choice(more))


def verdicts(snapshot: Snapshot, asked: list[Any]) -> list[bool]:
    judge = Judge(compile_node(snapshot, None))
    return [judge(packet_of(snapshot, probe)).allow for probe in asked]


def found_in(snapshot: Snapshot, *rules: str) -> list[Finding]:
    return [finding for finding in lint(snapshot, Written()) if finding.rule in rules]


def changed(snapshot: Snapshot, policies: dict[PolicyId, Policy | None]) -> Snapshot:
    return replace(snapshot, policies=snapshot.policies.changed(policies))


def policy_of(snapshot: Snapshot, finding: Finding) -> Policy:
    return snapshot.policies[PolicyId(*finding.key[1:])]


def without(snapshot: Snapshot, finding: Finding) -> Snapshot:
    """The world without the policy, rule, peer or port that the path leads to."""
    policy = policy_of(snapshot, finding)
    if finding.path[0] == "metadata" or finding.path[1] == "podSelector":
        return changed(snapshot, {policy.id: None})
    way, index = str(finding.path[1]), int(finding.path[2])
    rules = list(getattr(policy, way))
    if len(finding.path) == 3:
        del rules[index]
    else:
        name = "ports" if finding.path[3] == "ports" else "peers"
        entries = list(getattr(rules[index], name))
        del entries[int(finding.path[4])]
        if entries:
            rules[index] = replace(rules[index], **{name: tuple(entries)})
        else:  # without its last peer a rule would admit everybody
            del rules[index]
    return changed(snapshot, {policy.id: replace(policy, **{way: tuple(rules)})})


def changes_nothing(seed: int, rules: tuple[str, ...], remove: Callable[[Snapshot, Finding], Snapshot]) -> None:
    random = Random(seed)
    snapshot = sown(random)
    found = found_in(snapshot, *rules)
    if found:
        asked = probes(random, snapshot, PROBES)
        before = verdicts(snapshot, asked)
        for finding in found[:5]:
            assert verdicts(remove(snapshot, finding), asked) == before, finding


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_lint_never_falls_and_speaks_of_known_rules_and_objects(seed: int) -> None:
    snapshot = sown(Random(seed))
    for finding in lint(snapshot, Written()):
        assert finding.rule in RULES
        assert finding.text
        assert finding.cure
        assert show_place(finding.key, finding.path)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_policy_that_selects_nobody_can_go(seed: int) -> None:
    rules = ("selects-nothing", "selects-elsewhere", "empty-namespace", "host-network", "finished-pods")
    random = Random(seed)
    snapshot = sown(random)
    found = [finding for finding in found_in(snapshot, *rules) if finding.path[1] == "podSelector"]
    asked = probes(random, snapshot, PROBES)
    for finding in found[:5]:
        assert verdicts(without(snapshot, finding), asked) == verdicts(snapshot, asked), finding


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_there_twice_can_go(seed: int) -> None:
    changes_nothing(seed, ("duplicate-policy", "duplicate-rule", "duplicate-peer", "duplicate-port"), without)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_shadowed_can_go(seed: int) -> None:
    changes_nothing(seed, ("shadowed-rule", "shadowed-peer", "shadowed-port"), without)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_peer_that_matches_nothing_can_go(seed: int) -> None:
    rules = ("peer-nothing", "peer-elsewhere", "namespace-nothing", "except-everything")

    def peer_gone(snapshot: Snapshot, finding: Finding) -> Snapshot:
        return without(snapshot, replace(finding, path=finding.path[:5]))

    changes_nothing(seed, rules, peer_gone)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_connection_that_the_other_end_refuses_can_go(seed: int) -> None:
    changes_nothing(seed, ("egress-refused", "ingress-unreachable"), without)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_rules_beside_one_that_allows_everything_can_go(seed: int) -> None:
    random = Random(seed)
    snapshot = sown(random)
    asked = probes(random, snapshot, PROBES)
    before = verdicts(snapshot, asked)
    for finding in found_in(snapshot, "allow-all"):
        wide, way = policy_of(snapshot, finding), str(finding.path[1])
        useless = [
            other
            for id_, other in snapshot.policies.items()
            if id_.namespace == wide.id.namespace and f"{id_}" in finding.text and id_ != wide.id
        ]
        assert useless
        narrower = changed(snapshot, {one.id: replace(one, **{way: ()}) for one in useless})
        assert verdicts(narrower, asked) == before, finding


def test_an_empty_peer_of_a_live_world_is_an_error() -> None:
    snapshot = sown(Random(1))
    id_, policy = next(iter(snapshot.policies.items()))
    with_it = changed(snapshot, {id_: replace(policy, ingress=(PolicyRule((Peer(),)),))})
    found = found_in(with_it, "empty-peer")
    assert [show_place(one.key, one.path) for one in found] == [f"NetworkPolicy {id_} spec.ingress[0].from[0]"]
