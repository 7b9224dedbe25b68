"""Romana's form and ours: what is read is written back, and both mean the same."""

import json
import re
from typing import Any

import pytest

from ipam.layouts import FLAT, KUBEADM, RACKS, ZONES, World, layout, leaf, network, same, split
from vallum.ipam import own, romana
from vallum.ipam.records import Group
from vallum.ipam.rows import decode, encode
from vallum.model.errors import InputError
from vallum.model.selector import Operator, Requirement, Selector

ALL = {"flat": FLAT, "racks": RACKS, "zones": ZONES, "kubeadm": KUBEADM}


def stated(document: dict[str, Any]) -> dict[str, Any]:
    """With the block masks that it leaves to the default."""
    nets = [{"block_mask": 29} | each for each in document["networks"]]
    return {**document, "networks": nets}


@pytest.mark.parametrize("name", ALL)
def test_romanas_form_is_given_back_as_it_was(name: str) -> None:
    assert romana.write(World(ALL[name]).state) == stated(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_both_forms_lay_out_the_same(name: str) -> None:
    world = World(ALL[name])
    documents = json.loads(json.dumps(own.write(world.state)))
    again = World(own.read(documents))
    assert same(again.state) == same(world.state)
    assert romana.write(again.state) == stated(ALL[name])


def test_a_slot_that_became_spare_is_written_so_that_it_is_read_as_one() -> None:
    world = World(layout([network("n", "10.0.0.0/24")], split("n", ["n"], leaf("a"), Group(spare=True), leaf("c"))))
    document = romana.write(world.state)
    assert document["topologies"][0]["map"] == [
        {"name": "a", "groups": []}, {"dummy": True, "groups": []}, {"name": "c", "groups": []},
    ]  # fmt: skip
    assert same(World(document).state) == same(world.state)
    assert same(World(own.read(own.write(world.state))).state) == same(world.state)


def test_romanas_outputs_are_read_over() -> None:
    document = {
        "networks": [{"name": "n", "cidr": "10.0.0.0/24", "revision": 7}],
        "topologies": [
            {"networks": ["n"], "map": [{"name": "g", "cidr": "10.0.0.0/24", "routing": "ospf", "groups": []}]}
        ],
    }
    world = World(document)
    assert romana.write(world.state)["topologies"][0]["map"] == [{"name": "g", "routing": "ospf", "groups": []}]


def test_the_two_forms_are_told_apart() -> None:
    assert romana.is_romana(FLAT)
    assert not romana.is_romana(own.write(World(FLAT).state)[0])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"subnet": True}, "Network n subnet"),
        ({"nodes": Selector((Requirement("a", Operator.EXISTS),))}, "Network n nodes"),
        ({"blocks": "tenant"}, "Network n blocks"),
    ],
)
def test_what_romana_has_no_word_for_is_named(more: dict[str, Any], field: str) -> None:
    state = World(layout([network("n", "10.0.0.0/24", **more)])).state
    with pytest.raises(InputError, match=f"{field}: Romana's form has no word for it; export our own"):
        romana.write(state)


def test_a_prefix_per_host_has_no_word_either() -> None:
    state = World(layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(host_prefix=26)))).state
    with pytest.raises(InputError, match=r"Topology n map\[0\]\.hostPrefix: Romana's form has no word for it"):
        romana.write(state)


SELECTORS = [
    {"matchLabels": {"a": "1", "b": "2"}},
    {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "Exists"}]},
    {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["x"]}]},
]


@pytest.mark.parametrize("selector", SELECTORS)
def test_selectors_come_back_as_they_were(selector: dict[str, Any]) -> None:
    spec = {"cidr": "10.0.0.0/24", "blockMask": 29, "nodeSelector": selector}
    assert own.spec(own.record("Network", "n", spec)) == spec


def test_two_conditions_on_one_label_are_both_kept() -> None:
    both = [{"key": "a", "operator": "In", "values": [value]} for value in "12"]
    spec = {"cidr": "10.0.0.0/24", "blockMask": 29, "nodeSelector": {"matchExpressions": both}}
    assert own.spec(own.record("Network", "n", spec)) == spec


def test_every_record_is_the_same_after_writing_and_reading() -> None:
    world = World(ZONES)
    world.join("h", zone="z1", rack="r2")
    world.take("h", "p")
    world.take("h", "q")
    world.free("h", "q")
    world.adopt("n1", p=["192.168.200.9"], x=["10.64.0.1"])
    for each in world.state.records():
        document = json.loads(json.dumps(own.document(each)))
        name = document["metadata"]["name"]
        assert own.record(document["kind"], name, document["spec"], each.revision) == each
        assert decode(document["kind"], name, each.revision, encode(each)) == each


def test_names_of_objects_are_those_that_kubernetes_takes() -> None:
    world = World(layout([network("n", "10.0.0.0/24"), network("six", "::/120", order=1)]), "h.example")
    world.take("h.example", "p")
    world.adopt("h.example", p=["10.0.0.0", "::"], x=["::9"])
    world.adopt("other", x=["10.0.0.1"])
    names = [own.name_of(each) for each in world.state.records()]
    assert {"10-0-0-0-29", "0000-0000-0000-0000-0000-0000-0000-0000-122", "10-0-0-1.other"} <= set(names)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", name) for name in names)


def test_an_object_of_another_version_is_refused() -> None:
    document = {"apiVersion": "vallum.dev/v9", "kind": "Network", "metadata": {"name": "n"}, "spec": {}}
    with pytest.raises(
        InputError, match=r"document 1 apiVersion: 'vallum.dev/v9' is not read here; write vallum.dev/v1"
    ):
        own.read([document])
