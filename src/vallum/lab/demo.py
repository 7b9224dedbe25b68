"""The main job, step by step, for people: each step returns what the packets showed. Printing is the command's part."""

from dataclasses import dataclass, replace

from vallum.analysis.asked import Asked
from vallum.analysis.explain import Explanation, explain
from vallum.analysis.probe import parse
from vallum.lab.lab import Lab
from vallum.lab.live import Change, Stream
from vallum.lab.probing import Outcome
from vallum.model.errors import InputError
from vallum.model.objects import PROTOCOL_NAMES, Object, Pod, PodId, Policy
from vallum.model.selector import labels


@dataclass(frozen=True, slots=True)
class Cell:
    """Everything that was sent from one end to another: `open` of `asked` got through; `odd` differed from judge."""

    open: int
    asked: int
    odd: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Who reached whom. `rows` and `columns` are ends by name; every cell comes from packets that were sent."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    probes: int

    @property
    def odd(self) -> tuple[str, ...]:
        """Every difference between packets and judge."""
        return tuple(text for cell in self.cells.values() for text in cell.odd)


def without_policies(objects: tuple[Object, ...]) -> tuple[Object, ...]:
    """The same world before anybody wrote a policy."""
    return tuple(thing for thing in objects if not isinstance(thing, Policy))


def relabelled(objects: tuple[Object, ...], pod: PodId, change: dict[str, str]) -> tuple[Object, ...]:
    """The same world with labels of one pod changed."""
    return tuple(
        replace(thing, labels=labels(dict(thing.labels) | change))
        if isinstance(thing, Pod) and thing.id == pod
        else thing
        for thing in objects
    )


def services(objects: tuple[Object, ...]) -> dict[str, list[tuple[int, int]]]:
    """(protocol, port) of what each living pod's manifest says it serves."""
    return {
        str(thing.id): sorted({(port.protocol, port.number) for port in thing.ports})
        for thing in objects
        if isinstance(thing, Pod) and not thing.finished
    }


async def matrix(lab: Lab, outsiders: tuple[str, ...] = ()) -> Matrix:
    """Probe every end against every port that every pod serves, over both families."""
    served = services(lab.stated)
    ends = tuple(str(plan.pod) for plan in lab.topology.placed)
    asked = [
        {"from": source, "to": target, "protocol": PROTOCOL_NAMES[protocol], "port": port, "family": family}
        for source in (*ends, *outsiders)
        for target in ends
        if source != target
        for protocol, port in served[target]
        for family in (4, 6)
        if source in ends or (":" in source) == (family == 6)
    ]
    outcomes = await lab.probe([parse(line) for line in asked])
    found: dict[tuple[str, str], Cell] = {}
    for line, outcome in zip(asked, outcomes, strict=True):
        key = (str(line["from"]), str(line["to"]))
        found[key] = _counted(found.get(key, Cell(0, 0, ())), outcome)
    return Matrix((*ends, *outsiders), tuple(end for end in ends if served[end]), found, len(asked))


def _counted(cell: Cell, outcome: Outcome | InputError) -> Cell:
    if isinstance(outcome, InputError):
        return replace(cell, asked=cell.asked + 1, odd=(*cell.odd, str(outcome)))
    odd = () if outcome.fits else (_difference(outcome),)
    return Cell(cell.open + (outcome.sent == "allow"), cell.asked + 1, (*cell.odd, *odd))


def _difference(outcome: Outcome) -> str:
    probe, judged = outcome.probe, "allow" if outcome.expected.allow else "deny"
    name = PROTOCOL_NAMES.get(probe.protocol, str(probe.protocol))
    asked = f"{probe.source_end} -> {probe.target_end} {probe.port}/{name} IPv{probe.family}"
    return f"{asked}: packets say {outcome.sent} ({outcome.proof}), judge says {judged}"


async def one(lab: Lab, source: str, target: str, port: int) -> Outcome:
    """One TCP probe. Raises InputError when the world has no such ends."""
    outcome = (await lab.probe([parse({"from": source, "to": target, "port": port})]))[0]
    if isinstance(outcome, InputError):
        raise outcome
    return outcome


def why(lab: Lab, source: str, target: str, port: int) -> Explanation:
    """What the judge says of the same probe, with the nearest miss."""
    return explain(Asked(lab.snapshot), parse({"from": source, "to": target, "port": port}))


async def label_change(lab: Lab, pod: str, change: dict[str, str], target: str, port: int) -> tuple[Change, Change]:
    """Close a path by changing labels of one pod, then open it again by changing them back."""
    namespace, _, name = pod.partition("/")
    before = lab.stated
    changed = relabelled(before, PodId(namespace, name), change)
    found = []
    for objects, opens in ((changed, False), (before, True)):
        stream = Stream(lab, pod, target, port)
        try:
            found.append(await stream.across(objects, opens=opens))
        finally:
            stream.close()
    return found[0], found[1]
