"""What is written as manifests is read back as the objects that it was."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import pod, walk
from vallum.model.objects import (
    ENCAPSULATIONS,
    LEAST_MTU,
    MOST_MTU,
    NAME_LABEL,
    NamedPort,
    Namespace,
    Node,
    Object,
    Pod,
    Policy,
    PolicyRule,
    Pool,
)
from vallum.model.selector import labels
from vallum.model.snapshot import snapshot_of
from vallum.network import BACKENDS
from vallum.sources.encode import manifest
from vallum.sources.folder import read_world, snapshot
from worlds import world

KEYS = st.sampled_from(["app", "example.com/tier", "x" * 63, "a.b-c_d"])
VALUES = st.sampled_from(["", "web", "v1.2_3-x", "y" * 63])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


def read_back(things: tuple[Object, ...]) -> tuple[Object, ...]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "world.json"
        items = [manifest(thing) for thing in things]
        file.write_bytes(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items}))
        return walk(snapshot(read_world(file)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_every_random_world_comes_back_as_it_was(random: Random):
    things = walk(world(random))
    assert snapshot_of(read_back(things)) == snapshot_of(things)


@settings(max_examples=40, deadline=None)
@given(NAMES, LABELS, st.integers(1, 65535), st.booleans(), st.booleans())
def test_a_pod_comes_back(name: str, found: dict[str, str], number: int, host: bool, finished: bool):
    created = "2026-01-01T00:00:00Z" if number % 2 else ""
    ports = (NamedPort("dns", 17, number), NamedPort("http", 6, number))  # the reader sorts them
    addresses = () if host else ("10.44.1.7", "fd44:0:0:1::7")
    made = pod(f"a/{name}", *addresses, ports=ports, host_network=host, finished=finished, created=created)
    made = Pod(made.id, labels(found), "node1", made.addresses, ports, host, finished, created)
    back = [thing for thing in read_back((made,)) if isinstance(thing, Pod)]
    assert back == [made]


@settings(max_examples=40, deadline=None)
@given(NAMES, LABELS)
def test_namespaces_and_nodes_come_back(name: str, found: dict[str, str]):
    addresses = (ip_address("172.20.0.11"), ip_address("fd00:172:20::11"))
    ranges = (ip_network("10.44.1.0/24"), ip_network("fd44:0:0:1::/64"))
    things = (Namespace(name, labels(found | {NAME_LABEL: name})), Node(name, labels(found), addresses, ranges))
    assert set(read_back(things)) == set(things)


POOLS = st.builds(
    Pool,
    NAMES,
    st.sampled_from([ip_network("10.44.0.0/16"), ip_network("fd44::/48")]),
    st.sampled_from([None, *BACKENDS]),
    st.sampled_from([None, *ENCAPSULATIONS]),
    st.sampled_from([None, False, True]),
    st.none() | st.integers(LEAST_MTU, MOST_MTU),
)


@settings(max_examples=40, deadline=None)
@given(POOLS)
def test_a_pool_comes_back_with_what_it_leaves_open(pool: Pool):
    assert read_back((pool,)) == (pool,)


def test_an_empty_list_of_rules_stays_one_and_a_missing_direction_stays_missing():
    for ingress, egress in (((), None), (None, ()), ((), ()), ((PolicyRule(),), None)):
        made = Policy(id=pod("a/p").id, ingress=ingress, egress=egress)  # type: ignore[arg-type]
        (back,) = [thing for thing in read_back((made,)) if isinstance(thing, Policy)]
        assert (back.ingress, back.egress) == (ingress, egress)


def test_a_workloads_stand_in_keeps_its_owner():
    made = Pod(pod("a/web").id, owner="Deployment/web")
    assert [thing for thing in read_back((made,)) if isinstance(thing, Pod)] == [made]


@given(st.lists(st.sampled_from(["10.1.0.0/28", "10.1.0.16/28", "fd00::/64", "fd00:0:0:1::/64"]), unique=True))
def test_every_range_of_a_node_comes_back_and_what_group_it_is_in(ranges: list[str]):
    groups, routers = (ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")), (ip_address("10.2.0.1"),)
    node = Node("node1", (("zone", "a"),), (), tuple(map(ip_network, ranges)), groups, routers)
    assert read_back((node,)) == (node,)
