"""Crowded worlds: cells, fans and leaves of the nftables plane must say what the judge says, with packets too."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowds import crowd
from labs import in_lab, told
from packets import packet_of
from vallum.analysis.probe import parse
from vallum.dataplane.nftables.render import render
from vallum.lab.lab import Lab
from vallum.model.attachment import LocalNode
from vallum.model.objects import Object
from vallum.model.packet import Direction
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from worlds import probes, sendable

SEEDS = range(8)


def objects_of(snapshot: Snapshot) -> tuple[Object, ...]:
    stores = (snapshot.namespaces, snapshot.nodes, snapshot.pods, snapshot.policies)
    return tuple(thing for store in stores for thing in store.values())  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_tables_and_judge_agree_in_a_crowd(random: Random):
    snapshot = crowd(random)
    ruleset = compile_node(snapshot, None)
    tables, judge = classify(ruleset), Judge(ruleset)
    for probe in probes(random, snapshot, 40):
        packet = packet_of(snapshot, probe, random.choice(list(Direction)))
        assert decide(tables, packet) == judge(packet).allow, (probe, judge(packet))


def test_crowds_do_reach_cells_fans_and_leaves():
    names = set()
    for seed in SEEDS:
        ruleset = compile_node(crowd(Random(seed)), "node1")
        names |= set(render(ruleset, classify(ruleset), LocalNode("node1")).sets)
    for part in ("_cells", "_peers", "_blocks_"):
        assert any(part in name for name in names), part


@pytest.mark.packets
def test_packets_agree_with_the_judge_in_a_crowd():
    worlds = [crowd(Random(seed)) for seed in SEEDS]

    async def piece(lab: Lab) -> list[str]:
        found = []
        for seed, snapshot in zip(SEEDS, worlds, strict=True):
            await lab.apply(objects_of(snapshot))
            sent = [
                parse(probe.line(n))
                for n, probe in enumerate(sendable(lab.snapshot, probes(Random(seed + 500), lab.snapshot, 120)))
            ]
            found += [f"seed {seed}: {text}" for text in told(await lab.probe(sent))]
        return found

    assert in_lab(piece, objects_of(worlds[0])) == []
