"""The nearest miss: which rule would admit a denied packet with the fewest changed facts, and which facts these are.

A label, a port, a protocol, a namespace label or an address counts one each; ties go by policy name, then rule. Only
rules of policies that isolate the end are looked at. What is shown was judged again: the steps are applied to the part
of the world that decides, and the compiler says whether the packet passes then. Ignores changes of policies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from vallum.analysis.asked import Asked
from vallum.analysis.misses import Miss, misses
from vallum.analysis.probe import Ends, Owner, Probe, named_pod
from vallum.analysis.steps import Step, apply
from vallum.model.errors import InputError
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import Engine
from vallum.policy.judge import judge
from vallum.policy.ruleset import Way
from vallum.policy.verdict import Reason, Verdict, Why

TRIES = 8
"""Proposals of one side that are judged before it is said that none would do; the nearest come first."""
_PAIRS = 3
"""Of each side, when steps for both are looked for together."""
_BOTH = (Way.INGRESS, Way.EGRESS)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest miss of each side that denies, and the fewest steps with which the packet passes, if any do."""

    ingress: Miss | None = None
    egress: Miss | None = None
    proposal: tuple[Step, ...] = ()

    def side(self, way: Way) -> Miss | None:
        """The nearest miss of one side."""
        return self.ingress if way is Way.INGRESS else self.egress


def nearest(asked: Asked, probe: Probe, verdict: Verdict) -> Nearest:
    """For a probe with this verdict; nothing where no policy denies it."""
    search = _Search(asked, probe)
    denied = [way for way in _BOTH if side_of(verdict, way).kind is Reason.ISOLATED]
    if not denied or not all(side_of(verdict, way).allow for way in _BOTH if way not in denied):
        return Nearest()
    found = {way: search.misses(way, verdict) for way in denied}
    whole = next((miss for miss in _hopeful(found) if search.passes(miss.steps)), None)
    proposal = whole.steps if whole else ()
    if not whole or len(proposal) > 2:
        proposal = search.together(found, len(proposal)) or proposal
    shown = {way: _side(search, way, found[way], whole) for way in denied}
    return Nearest(shown.get(Way.INGRESS), shown.get(Way.EGRESS), proposal)


def nearest_of(asked: Asked, probe: Probe, way: Way, why: Why) -> Miss | None:
    """The nearest miss of one side alone, whatever the other says."""
    search = _Search(asked, probe)
    return _side(search, way, search.misses(way, Verdict(why, why)), None)


def side_of(verdict: Verdict, way: Way) -> Why:
    """One side of a verdict."""
    return verdict.ingress if way is Way.INGRESS else verdict.egress


def _side(search: "_Search", way: Way, found: Sequence[Miss], whole: Miss | None) -> Miss | None:
    """The miss that lets the packet through if it is of this side, or the first that satisfies this side."""
    if whole in found:
        return whole
    return next((miss for miss in islice(found, TRIES) if search.satisfies(way, miss.steps)), None)


def _hopeful(found: Mapping[Way, Sequence[Miss]]) -> list[Miss]:
    """What may let the packet through alone. Of two sides that deny, more than one step of one rarely mends both."""
    misses = [miss for side in found.values() for miss in islice(side, TRIES)]
    return sorted((miss for miss in misses if len(found) == 1 or len(miss.steps) == 1), key=lambda miss: miss.order)


class _Search:
    """One denied question: what it would be judged after some steps. Each set of steps is judged once."""

    def __init__(self, asked: Asked, probe: Probe) -> None:
        self._asked = asked
        self._probe = probe
        self._engine = Engine(None)
        self._verdicts: dict[tuple[Step, ...], Verdict | None] = {}

    @cached_property
    def _world(self) -> Snapshot:
        """All that decides about the two ends."""
        ends = Ends(self._asked.snapshot, self._asked.owner)
        named = (self._probe.source_end, self._probe.target_end)
        hosted = [named_pod(text) for text in named if "/" in text]
        return self._asked.about([*hosted, *(id_ for text in named if (id_ := ends.end(text).pod))])

    @cached_property
    def _here(self) -> Owner:
        """Who has an address in that part."""
        return Asked(self._world).owner

    def _ends(self, snapshot: Snapshot) -> Ends:
        """The ends after some steps, of which few change an address."""
        world = self._world.pods
        moved = any(pod.addresses != world[id_].addresses for id_, pod in snapshot.pods.items())
        return Ends(snapshot, None if moved else self._here)

    def misses(self, way: Way, verdict: Verdict, steps: tuple[Step, ...] = ()) -> list[Miss]:
        """What each rule of this side misses by, after these steps; nearest first."""
        snapshot, probe = apply(steps, self._world, self._probe)
        return misses(snapshot, self._ends(snapshot), probe, way, side_of(verdict, way).policies, self._asked.owner)

    def after(self, steps: tuple[Step, ...]) -> Verdict | None:
        """The verdict after these steps; None where the question cannot be asked any more."""
        if steps not in self._verdicts:
            snapshot, probe = apply(steps, self._world, self._probe)
            try:
                packet = self._ends(snapshot).packet(probe)
            except InputError:
                self._verdicts[steps] = None
            else:
                self._verdicts[steps] = judge(self._engine.advance(snapshot), packet)
        return self._verdicts[steps]

    def passes(self, steps: tuple[Step, ...]) -> bool:
        """Reports whether the packet passes after these steps."""
        verdict = self.after(steps)
        return verdict is not None and verdict.allow

    def satisfies(self, way: Way, steps: tuple[Step, ...]) -> bool:
        """Reports whether one side allows the packet after these steps."""
        verdict = self.after(steps)
        return verdict is not None and side_of(verdict, way).allow

    def together(self, found: dict[Way, list[Miss]], least: int) -> tuple[Step, ...]:
        """Fewest steps for one side, then for what the other side still denies. `least`: how many would do already."""
        best: tuple[Step, ...] = ()
        for way, first in [(way, miss) for way, side in found.items() for miss in side[:_PAIRS]]:
            verdict = self.after(first.steps)
            other = Way.EGRESS if way is Way.INGRESS else Way.INGRESS
            if verdict is None or not side_of(verdict, way).allow or side_of(verdict, other).allow:
                continue
            for second in self.misses(other, verdict, first.steps)[:_PAIRS]:
                steps = (*first.steps, *second.steps)
                bound = len(best) or least
                if bound and len(steps) >= bound:
                    break
                if len({step.fact for step in steps}) == len(steps) and self.passes(steps):
                    best = steps
        return best
