"""Old worlds mean what they meant: read directly, and written as v1 and read again, against the API text of 2016.

`allowed` is that text, written from the API of Kubernetes 1.5 and sharing nothing with what it checks.
"""

import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.analysis.probe import parse
from vallum.analysis.verdicts import Verdicts
from vallum.sources.convert import convert
from vallum.sources.folder import read_world, snapshot
from vallum.sources.world import World
from vallum.sources.write import stream

DENY = '{"ingress": {"isolation": "DefaultDeny"}}'
HYPHEN, ROMANAS = "net.beta.kubernetes.io/network-policy", "net.beta.kubernetes.io/networkpolicy"
SPACES = ("red", "green")
Body = dict[str, Any]


def space(name: str, annotation: str | None = None, key: str = HYPHEN, **labels: str) -> Body:
    meta = {"name": name, "labels": labels} | ({"annotations": {key: annotation}} if annotation else {})
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def pod(name: str, **labels: str) -> Body:
    namespace, _, own = name.partition("/")
    meta = {"namespace": namespace, "name": own, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


def old(name: str, selector: Body, *rules: Body, api: str = "extensions/v1beta1") -> Body:
    namespace, _, own = name.partition("/")
    spec = {"podSelector": selector, "ingress": list(rules)}
    return {"apiVersion": api, "kind": "NetworkPolicy", "metadata": {"namespace": namespace, "name": own}, "spec": spec}


def labels(**wanted: str) -> Body:
    return {"matchLabels": wanted}


def read(*bodies: Body, api: str | None = None) -> World:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "world.json"
        file.write_text("".join(f"---\n{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
        return read_world(file, api)


def passes(world: World, source: str, target: str, number: int = 80, protocol: str = "TCP") -> bool:
    probe = parse({"from": source, "to": target, "port": number, "protocol": protocol})
    return Verdicts(snapshot(world)).verdict(probe).allow


SERVER, CLIENT, OTHER = pod("red/server", role="db"), pod("red/client", role="web"), pod("green/other", role="web")
FROM_WEB = old("red/web", labels(role="db"), {"from": [{"podSelector": labels(role="web")}]})


@pytest.mark.parametrize("key", [HYPHEN, ROMANAS])
def test_an_isolated_namespace_is_shut_for_ingress_and_its_policies_add(key: str):
    world = read(space("red", DENY, key), SERVER, CLIENT, OTHER, FROM_WEB)
    assert passes(world, "red/client", "red/server")
    assert not passes(world, "green/other", "red/server")
    assert not passes(world, "red/server", "red/client"), "no policy selects the client, and its namespace is isolated"
    assert passes(world, "red/client", "green/other"), "egress is free"


@pytest.mark.parametrize("texts", [(DENY, "{}"), ("{}", DENY)])
def test_of_both_spellings_one_that_isolates_is_enough(texts: tuple[str, str]):
    both = space("red", texts[0])
    both["metadata"]["annotations"][ROMANAS] = texts[1]
    assert not passes(read(both, SERVER, OTHER), "green/other", "red/server")


def test_a_policy_of_a_namespace_that_is_not_isolated_has_no_effect_and_is_named():
    world = read(space("green", DENY), SERVER, CLIENT, OTHER, FROM_WEB)
    assert passes(world, "green/other", "red/server")
    (note,) = [str(each) for each in world.notes if "red/web" in str(each)]
    assert note.endswith(
        "policy red/web is left out: namespace red is not isolated, and in 2016 policies only added"
    ), note


def test_without_an_annotation_an_old_policy_means_what_it_means_in_v1_and_a_note_says_so():
    world = read(SERVER, CLIENT, OTHER, FROM_WEB)
    assert passes(world, "red/client", "red/server")
    assert not passes(world, "green/other", "red/server")
    assert passes(world, "red/server", "red/client"), "only what is selected is isolated"
    assert "in the meaning of v1" in str(world.notes[0])


def test_told_that_it_is_of_2016_a_world_without_an_annotation_is_open():
    assert passes(read(SERVER, CLIENT, OTHER, FROM_WEB, api="2016"), "green/other", "red/server")


def test_an_annotation_that_isolates_nothing_shows_the_time_all_the_same():
    world = read(space("red", "{}"), SERVER, CLIENT, OTHER, FROM_WEB)
    assert passes(world, "green/other", "red/server")
    assert "leaves namespace red open" in str(world.notes[0])


@pytest.mark.parametrize("key", ["from", "ports"])
def test_an_empty_list_matched_nothing_then_and_matches_everything_in_v1(key: str):
    policy = old("red/p", {}, {key: []})
    assert not passes(read(space("red", DENY), SERVER, OTHER, policy), "green/other", "red/server")
    assert passes(read(SERVER, OTHER, policy), "green/other", "red/server")


def test_policies_of_v1_keep_their_meaning_beside_old_ones():
    beside = old("green/p", {}, api="networking.k8s.io/v1")
    world = read(space("red", DENY), SERVER, CLIENT, OTHER, FROM_WEB, beside)
    assert not passes(world, "red/client", "green/other")


def test_a_world_without_old_forms_has_no_notes():
    assert read(space("red"), SERVER, old("red/p", {}, api="networking.k8s.io/v1"), api="2016").notes == ()


# random old worlds


def random_world(random: Random) -> list[Body]:
    bodies = [
        space(name, random.choice((None, DENY, DENY, "{}")), random.choice((HYPHEN, ROMANAS)), team=random.choice("ab"))
        for name in SPACES
    ]
    bodies += [
        pod(f"{space_}/{name}", app=random.choice("xy"), **({"tier": "t"} if random.random() < 0.5 else {}))
        for space_ in (*SPACES, "blue")
        for name in ("p", "q")
    ]
    names = [f"{random.choice((*SPACES, 'blue'))}/{name}" for name in ("default-deny", "one", "two", "three")]
    bodies += [old(name, random_selector(random), *random_rules(random)) for name in names]
    random.shuffle(bodies)
    return bodies


def random_selector(random: Random) -> Body:
    return random.choice(
        ({}, labels(app="x"), labels(app="y"), {"matchExpressions": [{"key": "tier", "operator": "Exists"}]})
    )


def random_rules(random: Random) -> list[Body]:
    return [random_rule(random) for _ in range(random.randint(0, 2))]


def random_rule(random: Random) -> Body:
    peers = [
        {"podSelector": random_selector(random)}
        if random.random() < 0.5
        else {"namespaceSelector": random.choice(({}, labels(team="a"), labels(team="b")))}
        for _ in range(random.choice((0, 1, 1, 2)))
    ]
    ports: list[Body] = [
        {"port": random.choice((80, 81))}
        | random.choice(({}, {"protocol": "tcp"}, {"protocol": "Udp"}, {"protocol": "UDP"}))
        for _ in range(random.choice((0, 1, 1, 2)))
    ]
    return random.choice(({}, {"from": peers}, {"ports": ports}, {"from": peers, "ports": ports}))


def holds(selector: Body, has: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    keys = [each["key"] for each in selector.get("matchExpressions", [])]
    return all(has.get(key) == value for key, value in wanted.items()) and all(key in has for key in keys)


def allowed(bodies: list[Body], source: Body, target: Body, number: int, protocol: str) -> bool:
    """Traffic is allowed where the namespace is not isolated, or some rule of a policy that selects the pod matches."""
    spaces = {body["metadata"]["name"]: body["metadata"] for body in bodies if body["kind"] == "Namespace"}
    here, there = (each["metadata"]["namespace"] for each in (target, source))
    texts = [json.loads(text) for text in spaces.get(here, {}).get("annotations", {}).values()]
    if source is target or not any(text.get("ingress", {}).get("isolation") for text in texts):
        return True

    def admits(peer: Body) -> bool:
        if "podSelector" in peer:
            return there == here and holds(peer["podSelector"], source["metadata"]["labels"])
        return holds(peer["namespaceSelector"], spaces.get(there, {}).get("labels", {}))

    def opens(port: Body) -> bool:
        return (port["port"], port.get("protocol", "TCP").upper()) == (number, protocol)

    return any(
        ("from" not in rule or any(map(admits, rule["from"])))
        and ("ports" not in rule or any(map(opens, rule["ports"])))
        for policy in bodies
        if policy["kind"] == "NetworkPolicy" and policy["metadata"]["namespace"] == here
        if holds(policy["spec"]["podSelector"], target["metadata"]["labels"])
        for rule in policy["spec"]["ingress"]
    )


def wrong(world: World, bodies: list[Body]) -> list[str]:
    verdicts = Verdicts(snapshot(world))
    pods = [body for body in bodies if body["kind"] == "Pod"]
    found = []
    for source in pods:
        for target in pods:
            for number, protocol in ((80, "TCP"), (81, "UDP")):
                ends = [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in (source, target)]
                probe = parse({"from": ends[0], "to": ends[1], "port": number, "protocol": protocol})
                if verdicts.verdict(probe).allow != allowed(bodies, source, target, number, protocol):
                    found.append(f"{ends} {number}/{protocol}")
    return found


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_old_worlds_mean_the_same_read_written_as_v1_and_in_the_words_of_their_time(random: Random):
    bodies = random_world(random)
    assert wrong(read(*bodies, api="2016"), bodies) == []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "old.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}), encoding="utf-8")
        once = convert(str(file), "2016")
        new = Path(folder) / "new.yaml"
        new.write_text(stream(once.texts), encoding="utf-8")
        again = convert(str(new))
        assert wrong(read_world(new), bodies) == []
        assert (again.texts, again.bodies, again.notes) == (once.texts, once.bodies, ())
