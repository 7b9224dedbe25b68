"""Every case file, asked of everything that answers: the judge, the Tables, the memory plane, and packets."""

from typing import Any

import pytest

from casefile import Case, cases
from labs import in_lab
from vallum.analysis.verdicts import Verdicts
from vallum.dataplane.memory.plane import MemoryPlane
from vallum.lab.lab import Lab
from vallum.model.attachment import LocalNode
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node

each_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)


@each_case
def test_the_judge_answers_as_the_case_says(case: Case):
    verdicts = Verdicts(snapshot_of(case.completed))
    for probe, expected in case.probes:
        assert verdicts.verdict(probe).allow == expected, (probe.id, dict(probe.extra), verdicts.verdict(probe))


@each_case
def test_the_tables_answer_as_the_case_says(case: Case):
    snapshot = snapshot_of(case.completed)
    verdicts, tables = Verdicts(snapshot), classify(compile_node(snapshot, None))
    for probe, expected in case.probes:
        assert decide(tables, verdicts.ends.packet(probe)) == expected, (probe.id, dict(probe.extra))


def memory_planes(snapshot: Snapshot) -> list[MemoryPlane]:
    """A plane for every node, each with its own pods only."""
    planes = []
    for name in snapshot.nodes:
        ruleset, plane = compile_node(snapshot, name), MemoryPlane()
        plane.apply(plane.render(ruleset, classify(ruleset), LocalNode(name)))
        planes.append(plane)
    return planes


@each_case
def test_a_packet_passes_when_the_memory_plane_of_every_node_lets_it(case: Case):
    snapshot = snapshot_of(case.completed)
    verdicts, planes = Verdicts(snapshot), memory_planes(snapshot)
    for probe, expected in case.probes:
        packet = verdicts.ends.packet(probe)
        assert all(plane.passes(packet) for plane in planes) == expected, (probe.id, dict(probe.extra))


@pytest.mark.packets
def test_packets_in_a_lab_do_as_every_case_says():
    async def piece(lab: Lab) -> list[Any]:
        wrong = []
        for case in cases():
            await lab.apply(case.objects)
            outcomes = await lab.probe([probe for probe, _ in case.probes])
            for (probe, expected), outcome in zip(case.probes, outcomes, strict=True):
                sent = getattr(outcome, "sent", str(outcome))
                if sent != ("allow" if expected else "deny"):
                    wrong.append((case.name, dict(probe.extra)["line"], probe.family, sent, str(outcome)))
        return wrong

    assert in_lab(piece, cases()[0].objects) == []


def test_the_stances_that_files_can_show_all_have_a_case():
    covered = {stance for case in cases() for stance in case.stances}
    elsewhere = {5, 16}  # DNAT and fragments: tests/conformance/test_paths.py
    assert covered | elsewhere >= {*range(1, 17), 23}
