"""The memory plane is the judge behind the planes' face: what it is given it holds and enforces."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packets import packet_of
from vallum import dataplane
from vallum.dataplane.memory.plane import MemoryPlane
from vallum.model.attachment import LocalNode
from vallum.model.packet import Direction
from vallum.policy.classify import classify
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge
from worlds import NODES, probes, world


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_a_packet_passes_when_the_judge_says_so(random: Random, node: str | None):
    snapshot = world(random)
    ruleset, plane = compile_node(snapshot, node), MemoryPlane()
    plane.apply(plane.render(ruleset, classify(ruleset), LocalNode(node or "")))
    for probe in probes(random, snapshot, 30):
        packet = packet_of(snapshot, probe, random.choice(list(Direction)))
        assert plane.passes(packet) == judge(ruleset, packet).allow


def test_it_reads_back_what_it_was_given_and_nothing_after_clear():
    ruleset, plane = compile_node(world(Random(1)), None), MemoryPlane()
    assert plane.read() is None
    program = plane.render(ruleset, classify(ruleset), LocalNode("node1"))
    plane.apply(program)
    assert plane.read() == program
    plane.clear()
    assert plane.read() is None


def test_with_nothing_applied_everything_passes():
    snapshot = world(Random(1))
    plane = MemoryPlane()
    assert all(plane.passes(packet_of(snapshot, probe)) for probe in probes(Random(2), snapshot, 20))


def test_every_plane_of_the_table_can_be_loaded_and_has_the_name_it_goes_by():
    for name in dataplane.PLANES:
        assert dataplane.load(name)[-1].name == name
