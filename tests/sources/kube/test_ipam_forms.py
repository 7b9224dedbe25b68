"""Records as objects of the API: their names, their owners, and that the schemas of deploy/ drop nothing of them."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vallum.ipam import own
from vallum.ipam.records import Blackout, Block, Host, Place, Record, Stray, key_of
from vallum.model.address import parse
from vallum.model.selector import labels
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.ipam_forms import KINDS, Thing, body, host_of, name_of, path, stored

CRDS = Path(__file__).parents[3] / "deploy" / "crds.yaml"
NETWORK = {
    "cidr": "10.0.0.0/16", "blockMask": 26, "order": 2, "tenants": ["shop"], "spill": True, "blocks": "tenant",
    "nodeSelector": {"matchLabels": {"disk": "ssd"}}, "reserved": ["10.0.0.0/28"], "subnet": True,
    "gateway": "10.0.0.9", "backend": "vxlan", "encapsulation": "cross-subnet", "masquerade": False, "mtu": 1400,
    "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]},
}  # fmt: skip
INNER = {"name": "rack", "assignment": {"rack": "r"}, "routing": "x", "hostPrefix": 24}
FIXED = {"name": "fixed", "hosts": [{"name": "h", "address": "192.0.2.1"}]}
DEEP = {"groups": [{"groups": [{"groups": [INNER, FIXED]}, {"spare": True}]}]}
RECORDS: list[Record] = [
    own.record("Network", "n", NETWORK, 7),
    own.record("Topology", "t", {"networks": ["n"], "map": [INNER, FIXED, DEEP, {"spare": True}]}, 7),
    Blackout(cidr=ip_network("fd00::/80"), revision=7),
    Host(
        name="node1",
        labels=labels({"zone": "z"}),
        addresses=(ip_address("192.0.2.1"),),
        places=(Place("n", (0, 3), ip_network("10.0.0.0/24")), Place("m", (1,))),
        revision=7,
    ),
    Block(
        network="n", first=parse("10.0.0.0"), mask=26, host="node1", tenant="shop", used={3: "a"}, freed={4: 1.5},
        revision=7,
    ),
    Stray(address=ip_address("fd00::7"), host="node1", owner="eth0", revision=7),
]  # fmt: skip
BY_KIND = [pytest.param(each, id=key_of(each).kind) for each in RECORDS]


def schemas() -> dict[str, Any]:
    found = {each["spec"]["names"]["kind"]: each for each in yaml.safe_load_all(CRDS.read_text())}
    return {kind: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind, each in found.items()}


def dropped(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """The fields that a server drops, since the schema does not know them."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema:
        return []
    match value:
        case dict():
            known = schema.get("properties", {})
            lost = [f"{at}.{name}" for name in value if name not in known]
            return lost + [
                one
                for name, each in value.items()
                if name in known
                for one in dropped(each, known[name], f"{at}.{name}")
            ]
        case list():
            return [one for each in value for one in dropped(each, schema["items"], f"{at}[]")]
        case _:
            return []


@pytest.mark.parametrize("record", BY_KIND)
def test_a_record_comes_back_from_its_object(record: Record) -> None:
    made = body(record, name_of(record), "uid")
    found = stored(made["kind"], msgspec.convert(made, Thing))
    assert (found.record, found.name) == (record, made["metadata"]["name"])


@pytest.mark.parametrize("record", BY_KIND)
def test_the_schemas_know_every_field_that_is_written(record: Record) -> None:
    made = body(record, name_of(record), None)
    assert dropped(made["spec"], schemas()[made["kind"]]["properties"]["spec"]) == []


def test_a_field_that_no_schema_knows_would_be_noticed() -> None:
    assert dropped({"cidr": "x", "mask": 3}, schemas()["Blackout"]["properties"]["spec"]) == [".mask"]


def test_what_belongs_to_a_node_goes_with_it() -> None:
    assert [host_of(each) for each in RECORDS] == [None, None, None, "node1", "node1", "node1"]
    (owner,) = body(RECORDS[4], "b", "uid")["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "uid"}
    assert "ownerReferences" not in body(RECORDS[0], "n", None)["metadata"]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (RECORDS[2], "fd00---80"),
        (RECORDS[4], "10.0.0.0-26"),
        (RECORDS[5], "fd00--7.node1"),
        (Block(network="n", first=parse("::ffff"), mask=128), "0--ffff-128"),
    ],
)
def test_names_are_such_as_the_api_takes(record: Record, name: str) -> None:
    assert name_of(record) == name
    assert path(key_of(record).kind, name).endswith(f"s/{name}")


def test_an_object_that_cannot_be_read_is_named_and_leaves_the_others() -> None:
    kind = next(each for each in KINDS if each.name == "Block")
    problems: list[str] = []
    assert kind.make is not None
    thing = msgspec.convert(
        {"metadata": {"name": "10.0.0.0-26"}, "spec": {"network": "n", "cidr": "10.0.0.1/26"}}, Thing
    )
    assert kind.make(thing, Interned(), problems) is None
    assert "Block 10.0.0.0-26" in problems[0]
