"""An evaluator written apart from the engine, from the API's text, agrees with every way that the engine decides.

11,000 probes over 500 fixed worlds and over some that are new each run (packets: test_random_worlds). The worlds are
read by the strict reader, so it is under test too. A failure tells its seed and the smallest world that shows it.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

import apitext
from apitext import CannotBeAskedError, Evaluator
from forms import ALL, forms
from shrink import shrink
from vallum.analysis.probe import SPORT, Ends, Probe, parse
from vallum.analysis.verdicts import Verdicts
from vallum.dataplane.memory.plane import MemoryPlane
from vallum.model.address import family
from vallum.model.attachment import LocalNode
from vallum.model.errors import InputError
from vallum.model.packet import PORTED, Direction, Packet
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import classify, decide
from vallum.policy.compile import compile_node
from vallum.policy.judge import mirrored
from worlds import World, fresh_seeds, questions, read

Manifests = list[dict[str, Any]]

SEEDS = range(500)
FRESH = 20
PROBES = 22
LEAST = 0.02
"""The share of probes on which each form has to bear."""


class Engine:
    """Every way that the engine decides about one world: with all pods on one node, and node by node as agents do."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.ends, self.verdicts = Ends(snapshot), Verdicts(snapshot)
        self.tables = classify(compile_node(snapshot, None))
        self.memory = _memory(snapshot, None)
        self.nodes = [_memory(snapshot, name) for name in sorted(snapshot.nodes)]

    def wrong(self, packet: Packet, *, allow: bool) -> list[str]:
        """The ways of deciding that let a packet pass and should not, or the other way round."""
        ways = {"Tables": decide(self.tables, packet), "memory": self.memory.passes(packet)}
        # A node knows no pod that has no address. Of an untracked packet it knows one end only, so that two nodes
        # may each see an allowed answer to a question that the other would refuse: then they let more pass.
        if family(packet.source) and family(packet.destination) and (allow or packet.direction is not Direction.NONE):
            ways["memory of every node"] = all(plane.passes(packet) for plane in self.nodes)
        return [way for way, passes in ways.items() if passes != allow]


def _memory(snapshot: Snapshot, node: str | None) -> MemoryPlane:
    ruleset, plane = compile_node(snapshot, node), MemoryPlane()
    plane.apply(plane.render(ruleset, classify(ruleset), LocalNode(node or "")))
    return plane


def differences(world: World) -> Iterator[tuple[int, str]]:
    """Where the evaluator and the engine disagree: the number of the line and what differs, in words."""
    evaluator, engine = Evaluator(world.manifests), Engine(world.snapshot)
    passed: dict[object, bool] = {}
    for number, (line, said) in enumerate(zip(world.lines, engine.verdicts.answers(world.lines), strict=True)):
        known = passed.get(line.get("of"), False)
        try:
            answer = evaluator.answer(line, known_flow=known)
        except CannotBeAskedError:
            if "error" not in said:
                yield number, f"{line}: answered with {said}, and cannot be asked"
            continue
        passed[number] = answer.allow
        sides = {"ingress": answer.ingress, "egress": answer.egress}
        judged = {side: said[side]["verdict"] == "allow" for side in sides} if "error" not in said else said
        if judged != sides:
            yield number, f"{line}: the API's text says {sides}, judge says {said}"
            continue
        for question, packet, expected in asked(evaluator, engine, line, known=known):
            if wrong := engine.wrong(packet, allow=expected):
                word = "allow" if expected else "deny"
                yield number, f"{line}: the API's text says {word} of {question}, not so {' and '.join(wrong)}"


def asked(
    evaluator: Evaluator, engine: Engine, line: dict[str, Any], *, known: bool
) -> Iterator[tuple[str, Packet, bool]]:
    """The packet of a line, its answer, and the same packet without a direction, each with what has to become of it."""
    probe = parse(line)
    packet = engine.ends.packet(probe, known_flow=known)
    allow = evaluator.answer(line, known_flow=known).allow
    yield "the packet", packet, allow
    if probe.written is not None:
        return
    replier = engine.ends.end(probe.target_end).pod
    yield "its answer", replace(mirrored(packet), direction=Direction.REPLY, sender=replier), allow
    if probe.of is None:
        back = evaluator.answer(_backwards(probe, packet)).allow and not packet.is_icmp_error
        yield "the packet untracked", replace(packet, direction=Direction.NONE), allow or back


def _backwards(probe: Probe, packet: Packet) -> dict[str, Any]:
    """The line of the packet that this one would answer (stance 13)."""
    version = family(packet.source) or family(packet.destination) or probe.family
    line = {"from": probe.target_end, "to": probe.source_end, "protocol": packet.protocol}
    return line | ({"family": version} if version else {}) | ({"port": SPORT} if packet.protocol in PORTED else {})


def disagreement(seed: int) -> list[str]:
    """What goes wrong in the world of a seed, in words, with the smallest world in which it still does."""
    world = questions(seed, PROBES)
    wrong = list(differences(world))
    if not wrong:
        return []
    first = wrong[0][0]

    async def fails(smaller: Manifests) -> bool:
        try:
            return any(number == first for number, _ in differences(World(smaller, read(smaller), world.lines)))
        except InputError:
            return False

    smallest = asyncio.run(shrink(world.manifests, fails))
    return [f"seed {seed}", *(text for _, text in wrong), f"smallest world: {msgspec.json.encode(smallest).decode()}"]


def test_the_engine_decides_as_the_text_of_the_api_says_in_500_worlds():
    told = next(filter(None, map(disagreement, SEEDS)), [])
    assert not told, "\n".join(told)


def test_the_engine_decides_as_the_text_of_the_api_says_in_worlds_never_seen_before():
    """VALLUM_SEEDS=1,2,3 repeats a run that failed."""
    seeds = fresh_seeds(FRESH)
    print("VALLUM_SEEDS=" + ",".join(map(str, seeds)))  # noqa: T201 - pytest shows it with a failure
    told = next(filter(None, map(disagreement, seeds)), [])
    assert not told, "\n".join(told)


def test_every_form_bears_on_enough_probes_and_both_verdicts_are_common():
    counts: Counter[str] = Counter()
    verdicts: Counter[bool] = Counter()
    for seed in SEEDS:
        world = questions(seed, PROBES)
        evaluator = Evaluator(world.manifests)
        for line in world.lines:
            found = forms(evaluator, line)
            counts.update(found)
            if "not allowed to be asked" not in found:
                verdicts[evaluator.answer(line).allow] += 1
    least = LEAST * len(SEEDS) * PROBES
    assert {form: counts[form] for form in ALL if counts[form] < least} == {}
    assert set(counts) <= ALL, "a form that the table does not know"
    assert verdicts.total() >= 10_000
    assert min(verdicts.values()) > 0.3 * verdicts.total()


def test_the_evaluator_shares_nothing_with_the_engine():
    tree = ast.parse(Path(apitext.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"collections.abc", "dataclasses", "functools", "ipaddress", "typing"}
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"__import__", "eval", "exec"}
