"""The worlds of the bench: only the last policy admits the client, and no two admit the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.lab.bench import shapes
from vallum.model.address import pack
from vallum.model.objects import TCP, Node
from vallum.model.packet import Packet
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge

NODE = Node("node-1")
V4 = shapes.Ends(shapes.end("client", "node-1", "10.44.1.2"), shapes.end("server", "node-1", "10.44.1.3"), (NODE,))
V6 = shapes.Ends(
    shapes.end("client", "node-1", "fd44:0:0:1::2"), shapes.end("server", "node-1", "fd44:0:0:1::3"), (NODE,)
)

shape = st.sampled_from(sorted(shapes.SHAPES))
family = st.sampled_from([V4, V6])


def passes(snapshot: Snapshot, ends: shapes.Ends, port: int = shapes.PORT):
    client, server = pack(ends.client.addresses[0]), pack(ends.server.addresses[0])
    packet = Packet(client, server, TCP, port, 40000, sender=ends.client.id)
    return judge(compile_node(snapshot, "node-1"), packet).allow


@given(shape, st.integers(2, 60), family)
def test_with_all_policies_the_client_gets_through(name: str, count: int, ends: shapes.Ends):
    assert passes(shapes.world(name, count, ends), ends)


@given(shape, st.integers(2, 60), family)
def test_without_the_last_policy_the_client_does_not(name: str, count: int, ends: shapes.Ends):
    world = shapes.world(name, count, ends, without_last=True)
    assert len(world.policies) == count - 1
    assert not passes(world, ends)


@given(shape, st.integers(2, 30), st.data(), family)
def test_any_other_policy_can_go_and_the_client_still_gets_through(
    name: str, count: int, data: st.DataObject, ends: shapes.Ends
):
    world = shapes.world(name, count, ends)
    gone = data.draw(st.sampled_from(sorted(world.policies)[:-1]))
    left = world.policies.changed({gone: None})
    assert passes(Snapshot(world.namespaces, world.nodes, world.pods, left), ends)


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("name", sorted(shapes.SHAPES))
def test_ten_thousand_policies_each_admit_something_of_their_own(name: str, ends: shapes.Ends):
    world = shapes.world(name, 10_000, ends)
    rules = [policy.ingress[0] for policy in world.policies.values()]
    assert len(set(rules)) == 10_000
    assert all(entry.port <= (entry.end or entry.port) <= 65535 for rule in rules for entry in rule.ports or ())


def test_ranges_neither_touch_nor_overlap():
    rules = [policy.ingress[0].ports[0] for policy in shapes.world("ranges", 10_000, V4).policies.values()]
    spans = sorted((entry.port, entry.end) for entry in rules)
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("ends", [V4, V6])
def test_blocks_are_disjoint_and_their_exceptions_lie_inside(ends: shapes.Ends):
    blocks = [policy.ingress[0].peers[0].block for policy in shapes.world("blocks", 10_000, ends).policies.values()]
    nets = sorted(block.network for block in blocks)
    assert all(not one.overlaps(other) for one, other in pairwise(nets))
    assert all(block.excepts[0].subnet_of(block.network) for block in blocks)


@pytest.mark.parametrize("name", ["peers", "both"])
def test_every_policy_that_names_a_pod_finds_one_with_an_address(name: str):
    world = shapes.world(name, 200, V4)
    ruleset = compile_node(world, "node-1")
    assert len(world.pods) == 201  # 199 named by others, and the two that talk
    assert all(found.addresses for found in ruleset.sets.values())


def test_no_policies_leave_the_server_open():
    assert passes(shapes.world("ports", 0, V4), V4, port=1)


def test_one_policy_is_refused_because_its_control_would_mean_nothing():
    with pytest.raises(ValueError, match="one policy"):
        shapes.world("ports", 1, V4)
