"""Every scenario on the real cluster: policies through the API, connections from inside the pods, whole matrices.

The matrices were written by hand and are checked against the judge in `tests/conformance/test_scenarios.py`. Pods and
processes in them are kept from one scenario to the next; only what a scenario changes is changed back.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby

import pytest

from kube import steps, wirings
from kube.probing import PATIENT, QUICK, Answer, Question
from kube.scenarios import objects
from kube.scenarios.matrix import Cell, Matrix, shown
from kube.scenarios.scenario import Scenario, Stage, population, scenarios, services
from kube.site import Site
from vallum.lab.kube.cluster import KubeCluster

Seen = dict[Cell, bool | str]
_TRIES = 2
_TOKENS = count(1)


@pytest.fixture(scope="module")
def site(kube: KubeCluster) -> Iterator[Site]:
    """The population, made once."""
    made = Site(kube)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def again(site: Site) -> Iterator[Site]:
    """With all agents running afterwards."""
    yield site
    site.leave()


def test_the_cluster_is_of_the_kind_that_was_asked_for(site: Site) -> None:
    """Otherwise a run on another kind would show nothing new."""
    kube, kind = site.kube, wirings.asked()
    site.enter(Stage("the population", population(), ""))
    attached = {name: chain for name, chain in wirings.plugins().items() if name in site.state.live}
    assert attached.keys() == site.state.live.keys() - set(site.state.hosts)
    assert {" ".join(chain) for chain in attached.values()} == {wirings.CHAINS[kind.wiring]}
    for name in kube.nodes:  # each kube-proxy hears of the Service when it does
        steps.until(
            lambda name=name: wirings.proxied(kube, name, site.addresses["svc:x/s.ip"]) == {kind.proxy},
            steps.PATIENCE,
            lambda name=name: f"{name}: kube-proxy has no rules of mode {kind.proxy}, or those of another too",
        )


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.id)
def test_who_reaches_whom_is_as_written(again: Site, scenario: Scenario) -> None:
    flows = Flows(again, scenario.flows)
    for number, stage in enumerate(scenario.stages):
        again.enter(stage)
        expected = stage.matrix | stage.service_matrix
        seen = ask(again, expected, scenario.size)
        assert seen == expected, report(again, stage, expected, seen)
        assert flows.wrong(stage) == [], f"{stage.does}: flows live where they must not, or died where they must not"
        if number == 0:
            assert [lie for lie in scenario.lies for came in told(again, lie) if came] == []
    assert again.unready() == []


def ask(site: Site, expected: Matrix, size: int = 0) -> Seen:
    """What becomes of every cell. What should pass and did not is asked again, with more patience."""
    seen = _asked(site, expected, size, QUICK)
    for _ in range(_TRIES):
        lost = [cell for cell, allowed in expected.items() if allowed and seen[cell] is False]
        if not lost:
            break
        seen |= _asked(site, lost, size, PATIENT)
    return seen


def _asked(site: Site, cells: Iterator[Cell] | Sequence[Cell] | Matrix, size: int, patience: float) -> Seen:
    by_source = {
        source: list(own)
        for source, own in groupby(sorted(cells, key=lambda cell: cell.source), lambda cell: cell.source)
    }
    asked = {source: [question(site, cell, size, patience) for cell in own] for source, own in by_source.items()}
    answers = site.askers.ask(asked, site.pods)
    return {
        cell: outcome(site, cell, answer)
        for source, own in by_source.items()
        for cell, answer in zip(own, answers[source], strict=True)
    }


def question(site: Site, cell: Cell, size: int = 0, patience: float = QUICK) -> Question:
    """A cell as the process in the pod is asked it."""
    entry, _, name = cell.target.rpartition(":")
    end = cell.target if entry in ("", "svc") else entry
    port = (services()[name].node_port or 0) if entry not in ("", "svc") else cell.port
    address = site.addresses[f"{end}.ip{'6' if cell.family == 6 else ''}"]
    asked = {"protocol": cell.protocol, "address": address, "port": port, "timeout": patience}
    return asked | ({"size": size} if size and cell.protocol == "UDP" else {})


def outcome(site: Site, cell: Cell, answer: Answer) -> bool | str:
    """Yes, no (silence), or what else it was: refused, unreachable, answered by another pod or to another address."""
    if not answer["ok"]:
        return False if answer["error"] == "timeout" else str(answer["error"])
    _, _, name = cell.target.rpartition(":")
    behind = services()[name].pod if ":" in cell.target else cell.target
    source, target = site.state.pods[cell.source], site.state.pods[behind]
    if cell.protocol in ("TCP", "UDP") and not target.get("host"):
        if answer["host"] != objects.hostname(behind):
            return f"answered by {answer['host']}"
        direct = ":" not in cell.target and not source.get("host")
        own = site.addresses[f"{cell.source}.ip{'6' if cell.family == 6 else ''}"]
        if direct and answer["peer"] != own:
            return f"seen from {answer['peer']} and not from {own}"
    return True


def report(site: Site, stage: Stage, expected: Matrix, seen: Mapping[Cell, bool | str]) -> str:
    """Grids of what differs, the first differences in words, and what the agents say of the first."""
    wrong = [cell for cell in expected if seen[cell] != expected[cell]]
    words = [f"{cell}: expected {_word(expected[cell])}, was {_word(seen[cell])}" for cell in wrong]
    grids = shown(expected, {cell: answer is True for cell, answer in seen.items()})
    first = next((cell for cell in wrong if ":" not in cell.target), None)
    return "\n".join(
        [stage.does, grids, *words[:20], f"{len(wrong)} in all", *(_explained(site, first) if first else ())]
    )


def _word(answer: bool | str) -> str:
    return {True: "allow", False: "deny"}[answer] if isinstance(answer, bool) else answer


def _explained(site: Site, cell: Cell) -> Iterator[str]:
    asked = {
        "from": cell.source,
        "to": cell.target,
        "protocol": cell.protocol,
        "port": cell.port,
        "family": cell.family,
    }
    for end in dict.fromkeys(site.state.pods[end]["node"] for end in cell[:2]):
        yield f"{end} says: {site.explain(end, asked)}"


class Flows:
    """Connections held from stage to stage. One that was cut may stay cut; it is not asked again."""

    def __init__(self, site: Site, cells: Sequence[Cell]) -> None:
        self._site = site
        self._held = {cell: f"{cell} {next(_TOKENS)}" for cell in cells}

    def wrong(self, stage: Stage) -> list[str]:
        """Say one more thing on each: what did not end as its cell says, in words."""
        for cell in [cell for cell in self._held if {cell.source, cell.target} & {*stage.anew, *self._gone(stage)}]:
            del self._held[cell]
        answers = self._asked(stage)
        wrong = [f"{cell} should be {_word(stage.matrix[cell])}" for cell in answers if not answers[cell]]
        self._held = {cell: name for cell, name in self._held.items() if stage.matrix[cell]}
        return wrong

    def _gone(self, stage: Stage) -> set[str]:
        return {end for cell in self._held for end in cell[:2]} - stage.state.live.keys()

    def _asked(self, stage: Stage) -> dict[Cell, bool]:
        """Whether each is as its cell says: it answers, or it is silent."""
        cells = {
            end: [cell for cell in self._held if cell.source == end] for end in {cell.source for cell in self._held}
        }
        asked = {end: [self._question(cell, allowed=stage.matrix[cell]) for cell in own] for end, own in cells.items()}
        answers = self._site.askers.ask(asked, self._site.pods)
        pairs = [pair for end, own in cells.items() for pair in zip(own, answers[end], strict=True)]
        return {
            cell: answer["ok"] if stage.matrix[cell] else answer.get("error") == "timeout" for cell, answer in pairs
        }

    def _question(self, cell: Cell, *, allowed: bool) -> Question:
        return question(self._site, cell, patience=PATIENT if allowed else QUICK) | {"flow": self._held[cell]}


def told(site: Site, lie: tuple[str, str, str]) -> Iterator[bool]:
    """Whether a lie came, in each family. That the same arrives from who may send it shows that it would be seen."""
    source, claimed, target = lie
    for family in (4, 6):
        cell = Cell(claimed, target, "UDP", 80, family)
        address = site.addresses[f"{claimed}.ip{'6' if family == 6 else ''}"]
        lied, honest = f"lie {next(_TOKENS)}", f"honest {next(_TOKENS)}"
        for sender, token in ((source, lied), (claimed, honest)):
            line = question(site, cell) | {"source": address, "token": token}
            (sent,) = site.askers.ask({sender: [line]}, site.pods)[sender]
            assert sent["ok"], (lie, sent)
        lines = [question(site, cell) | {"token": token} for token in (lied, honest)]
        came, known = site.askers.ask({claimed: lines}, site.pods)[claimed]
        assert known["ok"], (lie, known)
        yield came["ok"]
