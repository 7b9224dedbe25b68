"""The nearest miss: which rule would admit a denied packet with the fewest changed facts, and which facts these are.

A label, a port, a protocol, a namespace label or an address counts one each; ties go by policy name, then rule. Only
rules of policies that isolate the end are looked at. What is shown was judged again: the steps are applied to the part
of the world that decides, and the compiler says whether the packet passes then. What would not help is sorted out
before by `screen`, which is quicker and says the same. Ignores changes of policies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vallum.analysis.asked import Asked
from vallum.analysis.misses import Facts, Gap, Miss, misses
from vallum.analysis.probe import End, Ends, Probe, named_pod, packet_between
from vallum.analysis.screen import Owners, Screen, owners_in
from vallum.analysis.steps import Step, apply
from vallum.model.address import pack
from vallum.model.errors import InputError
from vallum.model.packet import Packet
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


def nearest(question: "Question", verdict: Verdict) -> Nearest:
    """For a question with this verdict; nothing where no policy denies it."""
    denied = [way for way in _BOTH if side_of(verdict, way).kind is Reason.ISOLATED]
    if not denied or not all(side_of(verdict, way).allow for way in _BOTH if way not in denied):
        return Nearest()
    found = {way: question.misses(way, verdict, TRIES) for way in denied}
    whole = next((miss for miss in _hopeful(found) if question.passes(miss.steps)), None)
    proposal = whole.steps if whole else ()
    if not whole or len(proposal) > 2:
        proposal = question.together(found, len(proposal)) or proposal
    shown = {way: _side(question, way, found[way], whole) for way in denied}
    sure = proposal and question.verdict(proposal).allow
    return Nearest(shown.get(Way.INGRESS), shown.get(Way.EGRESS), proposal if sure else ())


def nearest_of(question: "Question", way: Way, why: Why) -> Miss | None:
    """The nearest miss of one side alone, whatever the other says."""
    return _side(question, way, question.misses(way, Verdict(why, why), TRIES), None)


def side_of(verdict: Verdict, way: Way) -> Why:
    """One side of a verdict."""
    return verdict.ingress if way is Way.INGRESS else verdict.egress


def _side(question: "Question", way: Way, found: Sequence[Miss], whole: Miss | None) -> Miss | None:
    """The miss that lets the packet through if it is of this side, or the first that satisfies this side."""
    first = whole if whole in found else next((miss for miss in found if question.satisfies(way, miss.steps)), None)
    return first if first and side_of(question.verdict(first.steps), way).allow else None


def _hopeful(found: Mapping[Way, Sequence[Miss]]) -> list[Miss]:
    """What may let the packet through alone. Of two sides that deny, more than one step of one rarely mends both."""
    alone = [miss for side in found.values() for miss in side if len(found) == 1 or len(miss.steps) == 1]
    return sorted(alone, key=lambda miss: miss.order)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A world and a question in it: who has which address, the two ends, and the packet between them."""

    snapshot: Snapshot
    owners: Owners
    source: End
    target: End
    packet: Packet


class Question:
    """One question: what it is judged, and what it would be judged after some steps. Each of that is found out once."""

    def __init__(self, asked: Asked, probe: Probe) -> None:
        """Raises InputError when the probe names nothing known."""
        self._asked = asked
        self._probe = probe
        self._engine = Engine(None)
        self._moments: dict[tuple[Step, ...], _Moment] = {}
        self._screened: dict[tuple[Step, ...], Verdict | None] = {}
        self._judged: dict[tuple[Step, ...], Verdict] = {}
        self._missed: dict[Facts, tuple[int, list[Miss]]] = {}
        ends = Ends(asked.snapshot, asked.owner)
        named = (probe.source_end, probe.target_end)
        hosted = [named_pod(text) for text in named if "/" in text]
        source, target = (ends.end(text).pod for text in named)
        claimed = asked.owner(pack(probe.written)) if probe.written else None
        self._world = asked.about(source, target, [*hosted, *([claimed] if claimed else [])])
        """All that decides about the two ends."""

    @cached_property
    def _screen(self) -> Screen:
        return Screen(self._world.policies, self._asked.owner)

    @cached_property
    def _here(self) -> Owners:
        """Who has an address in that part."""
        return owners_in(self._world)

    def _owners(self, snapshot: Snapshot) -> Owners:
        """Who has an address after some steps, of which few change one."""
        if snapshot.pods is self._world.pods:
            return self._here
        world = self._world.pods
        moved = any(pod.addresses != world[id_].addresses for id_, pod in snapshot.pods.items())
        return owners_in(snapshot) if moved else self._here

    def _after(self, steps: tuple[Step, ...]) -> _Moment:
        """What is asked after these steps. Raises InputError where the question cannot be asked any more."""
        found = self._moments.get(steps)
        if found is None:
            snapshot, probe = apply(steps, self._world, self._probe)
            owners = self._owners(snapshot)
            source, target = self._ends(snapshot, owners, probe)
            found = _Moment(snapshot, owners, source, target, packet_between(source, target, probe))
            self._moments[steps] = found
        return found

    def _ends(self, snapshot: Snapshot, owners: Owners, probe: Probe) -> tuple[End, End]:
        """Both ends after some steps, of which few change one."""
        named, first = (probe.source_end, probe.target_end), self._moments.get(())
        if first and owners is self._here and named == (first.source.text, first.target.text):
            return first.source, first.target
        ends = Ends(snapshot, lambda address: local.pod if (local := owners.get(address)) else None)
        return ends.end(named[0]), ends.end(named[1])

    def verdict(self, steps: tuple[Step, ...] = ()) -> Verdict:
        """The verdict after these steps, from the compiler and the judge. Raises InputError where nothing is asked."""
        found = self._judged.get(steps)
        if found is None:
            moment = self._after(steps)
            found = self._judged[steps] = judge(self._engine.advance(moment.snapshot), moment.packet)
        return found

    def screened(self, steps: tuple[Step, ...]) -> Verdict | None:
        """The verdict after these steps as the policies read; None where the question cannot be asked any more."""
        if steps not in self._screened:
            try:
                moment = self._after(steps)
            except InputError:
                self._screened[steps] = None
            else:
                self._screened[steps] = self._screen(moment.snapshot, moment.owners, moment.packet)
        return self._screened[steps]

    def misses(self, way: Way, verdict: Verdict, count: int, steps: tuple[Step, ...] = ()) -> list[Miss]:
        """What the rules of this side miss by after these steps: the first `count`, nearest first."""
        moment = self._after(steps)
        remote = moment.source if way is Way.INGRESS else moment.target
        gap = Gap(moment.snapshot, moment.packet, way, remote, moment.target.pod, self._asked.owner)
        policies = side_of(verdict, way).policies
        key = (policies, *gap.facts)
        known, found = self._missed.get(key, (0, []))
        if known < count:
            found = misses(gap, policies, count)
            self._missed[key] = count, found
        return found[:count]

    def passes(self, steps: tuple[Step, ...]) -> bool:
        """Reports whether the packet passes after these steps."""
        verdict = self.screened(steps)
        return verdict is not None and verdict.allow

    def satisfies(self, way: Way, steps: tuple[Step, ...]) -> bool:
        """Reports whether one side allows the packet after these steps."""
        verdict = self.screened(steps)
        return verdict is not None and side_of(verdict, way).allow

    def together(self, found: dict[Way, list[Miss]], least: int) -> tuple[Step, ...]:
        """Fewest steps for one side, then for what the other side still denies. `least`: how many would do already."""
        best: tuple[Step, ...] = ()
        for way, first in [(way, miss) for way, side in found.items() for miss in side[:_PAIRS]]:
            bound = len(best) or least
            if bound and len(first.steps) + 1 >= bound:
                continue
            verdict = self.screened(first.steps)
            other = Way.EGRESS if way is Way.INGRESS else Way.INGRESS
            if verdict is None or not side_of(verdict, way).allow or side_of(verdict, other).allow:
                continue
            for second in self.misses(other, verdict, _PAIRS, first.steps):
                steps = (*first.steps, *second.steps)
                bound = len(best) or least
                if bound and len(steps) >= bound:
                    break
                if len({step.fact for step in steps}) == len(steps) and self.passes(steps):
                    best = steps
        return best
