"""Every case file, asked of everything that answers: the judge, the Tables, the memory plane, and packets.

Live change is semantics too: what a case changes, it changes under planes and packets that hold the world before.
"""

from typing import Any

import pytest

from casefile import Case, Step, cases
from labs import in_lab
from vallum.agent.world import World
from vallum.analysis.verdicts import Verdicts
from vallum.dataplane.memory.plane import MemoryPlane
from vallum.lab.lab import Lab
from vallum.model.attachment import LocalNode
from vallum.model.snapshot import Batch, Gone, Put, Snapshot, key_of, snapshot_of
from vallum.policy.classify import classify, decide
from vallum.policy.compile import Engine, compile_node

each_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)


@each_case
def test_the_judge_answers_as_the_case_says(case: Case):
    for step in case.steps:
        verdicts = Verdicts(snapshot_of(step.completed))
        for probe, expected in step.probes:
            verdict = verdicts.verdict(probe)
            assert verdict.allow == expected, (step.does, probe.id, dict(probe.extra), verdict)


@each_case
def test_the_tables_answer_as_the_case_says(case: Case):
    for step in case.steps:
        snapshot = snapshot_of(step.completed)
        verdicts, tables = Verdicts(snapshot), classify(compile_node(snapshot, None))
        for probe, expected in step.probes:
            assert decide(tables, verdicts.ends.packet(probe)) == expected, (step.does, probe.id, dict(probe.extra))


@each_case
def test_a_packet_passes_when_the_memory_plane_of_every_node_lets_it_after_each_step(case: Case):
    planes: dict[str, MemoryPlane] = {}
    engines: dict[str, Engine] = {}
    world = World()
    for number, step in enumerate(case.steps):
        snapshot = followed(world, step, str(number))
        for name in snapshot.nodes:
            engine, plane = engines.setdefault(name, Engine(name)), planes.setdefault(name, MemoryPlane())
            plane.apply(plane.render(*engine.compile(snapshot), LocalNode(name)))
        ends = Verdicts(snapshot).ends
        for probe, expected in step.probes:
            passes = all(plane.passes(ends.packet(probe)) for plane in planes.values())
            assert passes == expected, (step.does, probe.id, dict(probe.extra))


def followed(world: World, step: Step, revision: str) -> Snapshot:
    """The snapshot of an agent that is told only what a step changes."""
    before, after = world.snapshot, snapshot_of(step.completed, revision)
    old = [*before.namespaces.values(), *before.nodes.values(), *before.pods.values(), *before.policies.values()]
    gone = {key_of(thing) for thing in old} - {key_of(thing) for thing in step.completed}
    put = [Put(thing) for thing in step.completed if thing not in old]
    assert world.apply(Batch((*put, *map(Gone, sorted(gone))), revision)) == after
    return after


@pytest.mark.packets
def test_packets_in_a_lab_do_as_every_case_says_after_each_step():
    async def piece(lab: Lab) -> list[Any]:
        wrong = []
        for case in cases():
            for step in case.steps:
                await lab.apply(step.objects)
                outcomes = await lab.probe([probe for probe, _ in step.probes])
                for (probe, expected), outcome in zip(step.probes, outcomes, strict=True):
                    sent = getattr(outcome, "sent", str(outcome))
                    if sent != ("allow" if expected else "deny"):
                        line = dict(probe.extra)["line"]
                        wrong.append((case.name, step.does, line, probe.family, sent, str(outcome)))
        return wrong

    assert in_lab(piece, cases()[0].objects) == []


def test_every_title_is_a_sentence_and_no_two_are_alike():
    titles = [case.title for case in cases()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if len(title.split()) < 5 or not title[0].isupper() or title.endswith(".")]


def test_every_step_is_asked_something_and_every_case_hears_both_answers_or_says_why():
    for case in cases():
        assert all(step.probes for step in case.steps), case.name
        answers = {expected for step in case.steps for _, expected in step.probes}
        assert answers == {True, False} or case.name in ONE_ANSWER, case.name


ONE_ANSWER = {"a-pod-reaches-itself"}
"""Cases in which everything passes: they show that nothing can shut it."""
