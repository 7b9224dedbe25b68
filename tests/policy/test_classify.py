"""Tables must decide what the judge decides, on every packet of every world."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packets import packet_of
from vallum.model.packet import Direction
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from worlds import NODES, probes, world


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_tables_and_judge_agree_on_every_probe(random: Random, node: str | None):
    snapshot = world(random)
    ruleset = compile_node(snapshot, node)
    tables, judge = classify(ruleset), Judge(ruleset)
    for probe in probes(random, snapshot, 40):
        packet = packet_of(snapshot, probe, random.choice(list(Direction)))
        assert decide(tables, packet) == judge(packet).allow, (probe, judge(packet))
