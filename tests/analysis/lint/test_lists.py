"""Long lists: what is equal or nested is found in them too, and the time they take does not grow with its square."""

from ipaddress import ip_network

from build import NODE1, block, pod, policy, port, rule, select, space
from vallum.analysis.lint import Written, lint
from vallum.analysis.lint.finding import show_path
from vallum.model.objects import Peer, PolicyRule
from vallum.model.snapshot import snapshot_of

THINGS = (space("shop"), NODE1, pod("shop/web", "10.44.1.10", app="web"))


def found(*rules: PolicyRule) -> list[tuple[str, str]]:
    things = (*THINGS, policy("shop/p", select(app="web"), ingress=rules))
    return [(one.rule, show_path(one.path)) for one in lint(snapshot_of(things), Written())]


def test_a_block_within_another_is_found_among_ten_thousand() -> None:
    single = [block(str(network)) for network in ip_network("203.0.0.0/16").subnets(new_prefix=29)]
    peers = (*single, block("198.51.100.0/24"), block("198.51.100.8/29"), single[7])
    assert found(rule(*peers)) == [
        ("duplicate-peer", f"spec.ingress[0].from[{len(single) + 2}]"),
        ("shadowed-peer", f"spec.ingress[0].from[{len(single) + 1}]"),
    ]


def test_a_repeated_rule_is_found_among_five_thousand() -> None:
    rules = [rule(block(str(network))) for network in ip_network("203.0.0.0/16").subnets(new_prefix=29)][:5000]
    assert found(*rules, rules[3]) == [("duplicate-rule", "spec.ingress[5000]")]


def test_a_shadow_is_the_narrower_one_wherever_it_stands() -> None:
    narrow, wide = rule(Peer(pods=select(app="web")), ports=[port(80)]), rule(Peer(pods=select(app="web")))
    assert ("shadowed-rule", "spec.ingress[0]") in found(narrow, wide)
    assert ("shadowed-rule", "spec.ingress[1]") in found(wide, narrow)


def test_of_two_peers_that_include_each_other_one_stays() -> None:
    peers = (
        Peer(pods=select(app="web")),
        Peer(pods=select(app="web"), namespaces=select(**{"kubernetes.io/metadata.name": "shop"})),
    )
    assert [one for one in found(rule(*peers)) if one[0] == "shadowed-peer"] == [
        ("shadowed-peer", "spec.ingress[0].from[0]")
    ]
