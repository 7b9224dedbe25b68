"""Which forms of the API a scenario uses: each direction, peer, port and live change has a name here.

So that a test can say which of them no scenario shows. Ignores what the policies mean.
"""

from collections.abc import Iterator

from kube.scenarios.scenario import Facts, Scenario, Stage, State

PEERS = ("missing", "empty list", "podSelector", "namespaceSelector", "both selectors", "ipBlock", "except", "several")
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
PORTS = ("missing", "empty list", "number", "name", "endPort", "protocol alone", "several")
PROTOCOLS = ("missing", "TCP", "UDP", "SCTP")
TYPES = ("missing", "Ingress", "Egress", "Ingress, Egress")
CHANGES = (
    "policy made",
    "policy edited",
    "policy deleted",
    "pod made",
    "pod made again",
    "pod leaving",
    "pod deleted",
    "pod's labels",
    "pod finished",
    "namespace made",
    "namespace deleted",
    "namespace's labels",
    "agent stop",
    "agent start",
    "agent kill",
    "agent wipe",
)
ALL = {
    *(
        f"{way}: {side} {form}"
        for way in ("ingress", "egress")
        for side, forms in (("peers", PEERS), ("ports", PORTS))
        for form in forms
    ),
    *(f"{way}: protocol {form}" for way in ("ingress", "egress") for form in PROTOCOLS),
    *(f"operator {form}" for form in OPERATORS),
    *(f"types {form}" for form in TYPES),
    *CHANGES,
}


def used(scenario: Scenario) -> set[str]:
    """The forms that a scenario shows."""
    found = {form for stage in scenario.stages for spec in stage.state.policies.values() for form in _policy(spec)}
    for before, after in zip(scenario.stages, scenario.stages[1:], strict=False):
        found |= set(_changes(before.state, after))
    return found


def _policy(spec: Facts) -> Iterator[str]:
    yield f"types {', '.join(spec.get('policyTypes', ['missing']))}"
    yield from _operators(spec)
    for way, side in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(way, ()):
            yield from (f"{way}: peers {form}" for form in _listed(rule, side) or map(_peer, rule[side]))
            yield from (f"{way}: ports {form}" for form in _listed(rule, "ports") or map(_port, rule["ports"]))
            yield from (f"{way}: protocol {port.get('protocol', 'missing')}" for port in rule.get("ports", ()))


def _listed(rule: Facts, key: str) -> list[str]:
    """What can be said of a list as a whole; nothing where its one entry is to be looked at."""
    if key not in rule:
        return ["missing"]
    if not rule[key]:
        return ["empty list"]
    each = _port if key == "ports" else _peer
    return ["several", *map(each, rule[key])] if len(rule[key]) > 1 else []


def _peer(peer: Facts) -> str:
    if "ipBlock" in peer:
        return "except" if "except" in peer["ipBlock"] else "ipBlock"
    return "both selectors" if len(peer) > 1 else next(iter(peer))


def _port(port: Facts) -> str:
    if "endPort" in port:
        return "endPort"
    if "port" not in port:
        return "protocol alone"
    return "number" if isinstance(port["port"], int) else "name"


def _operators(value: object) -> Iterator[str]:
    """Every operator at any depth."""
    if isinstance(value, dict):
        if "operator" in value:
            yield f"operator {value['operator']}"
        for inner in value.values():
            yield from _operators(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _operators(inner)


def _changes(before: State, stage: Stage) -> Iterator[str]:
    after = stage.state
    for kind in ("policy", "pod", "namespace"):
        had, has = (getattr(state, "policies" if kind == "policy" else f"{kind}s") for state in (before, after))
        yield from (f"{kind} made" for _ in has.keys() - had.keys())
        yield from (f"{kind} deleted" for _ in had.keys() - has.keys())
        for name in has.keys() & had.keys():
            if has[name] != had[name]:
                yield _edited(kind, has[name])
    yield from ("pod made again" for _ in stage.anew)
    yield from ("pod leaving" for _ in stage.leaving)
    yield from (f"agent {action}" for action in stage.agents)


def _edited(kind: str, facts: Facts) -> str:
    if kind == "policy":
        return "policy edited"
    return "pod finished" if kind == "pod" and facts.get("finished") else f"{kind}'s labels"
