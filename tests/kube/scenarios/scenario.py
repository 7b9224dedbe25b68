"""Scenarios (tests/kube/scenarios/*.yaml, several a file): policies on the fixed population, and who reaches whom.

    id: several-words     title: a sentence     stances: [numbers of docs/semantics.md]
    namespaces, pods, policies:   laid over the population; a pod's facts are merged over what it is there
    expect: |             the matrix, written by hand from docs/semantics.md (`matrix` has its form)
    services: |           the same for Services: targets `svc:x/s` and `node1:z/n` (NodePort); ports are the Service's
    flows: ["x/a -> y/b 80/TCP"]   connections opened at the start, which must live as long as their cell says so
    lies: ["z/a as x/b -> x/a"]    packets with another pod's source address, which must never arrive
    size: 4000            of the payload of UDP, for fragments
    steps: [{does, namespaces, pods, policies, gone: {pods: [...], ...}, anew: [pods], leaving: [pods],
             agents: [stop|start|kill|wipe], expect, services}]

In a step what is named is replaced as a whole, `anew` pods are deleted and made again under their names, `leaving`
pods are deleted and stay for their grace period. `wipe`: somebody deletes our table on every node.
${x/a.ip}, ${node1.ip}, ${node1.pods}, ${svc:x/s.ip} stand for addresses, with 6 at the end for IPv6.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from kube.scenarios.matrix import Cell, Matrix, everything, written

FOLDER = Path(__file__).parent
NODES = ("node1", "node2")
_KINDS = ("namespaces", "pods", "policies")
_KEYS = {"id", "title", "stances", "expect", "services", "flows", "lies", "size", "steps", *_KINDS}
_STEP_KEYS = {"does", "gone", "anew", "leaving", "agents", "expect", "services", *_KINDS}
_AGENTS = {"stop", "start", "kill", "wipe"}

Facts = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What is on the cluster: namespaces with their labels, pods with their facts, policies with their specs."""

    namespaces: Mapping[str, dict[str, str]]
    pods: Mapping[str, Facts]
    policies: Mapping[str, Facts]

    def over(self, data: Mapping[str, Any]) -> "State":
        """With what the data names laid over it; a pod's facts are merged."""
        pods = {name: {**self.pods.get(name, {}), **facts} for name, facts in (data.get("pods") or {}).items()}
        return State(
            {**self.namespaces, **(data.get("namespaces") or {})},
            {**self.pods, **pods},
            {**self.policies, **(data.get("policies") or {})},
        )

    def without(self, gone: Mapping[str, list[str]]) -> "State":
        """Less what is named; a namespace takes everything in it along."""
        inside = tuple(f"{name}/" for name in gone.get("namespaces", ()))
        left: dict[str, Any] = {}
        for kind in _KINDS:
            had, names = getattr(self, kind), gone.get(kind, ())
            absent = [name for name in names if name not in had]
            if absent:
                raise ValueError(f"{kind} {absent} are not there to go")
            left[kind] = {
                name: facts
                for name, facts in had.items()
                if name not in names and not (inside and kind != "namespaces" and name.startswith(inside))
            }
        return replace(self, **left)

    @property
    def live(self) -> dict[str, Facts]:
        """The pods that can talk."""
        return {name: facts for name, facts in self.pods.items() if not facts.get("finished")}

    @property
    def hosts(self) -> tuple[str, ...]:
        """The pods on their nodes' networks."""
        return tuple(name for name, facts in self.pods.items() if facts.get("host"))


@dataclass(frozen=True)
class Service:
    """A Service with one pod behind it. `ports`: (protocol, its port) -> the pod's port, a number or a name."""

    name: str
    pod: str
    selector: dict[str, str]
    ports: Mapping[str, Facts]
    node_port: int | None

    def target(self, protocol: str, port: int) -> int | str:
        """The pod's port behind the Service's."""
        for facts in self.ports.values():
            if (facts.get("protocol", "TCP"), facts["port"]) == (protocol, port):
                found: int | str = facts["targetPort"]
                return found
        raise KeyError((self.name, protocol, port))


@dataclass(frozen=True)
class Stage:
    """The population with a scenario's policies, before its steps or after one of them, and what must be seen then."""

    does: str
    state: State
    text: str
    service_text: str = ""
    anew: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()

    @cached_property
    def matrix(self) -> Matrix:
        """Pod to pod. Whatever the policies: a pod reaches itself, and a node its own pods."""
        live = self.state.live
        found = written(self.text, everything(live, live), self.state.hosts)
        return {cell: allowed or self._always(cell) for cell, allowed in found.items()}

    def _always(self, cell: Cell) -> bool:
        source, target = (self.state.pods[end] for end in cell[:2])
        own_node = source.get("host", False) and source["node"] == target["node"]
        return cell.source == cell.target or own_node

    @cached_property
    def service_matrix(self) -> Matrix:
        """Through Services. A pod's own, and those of a pod of the own node, always answer as well."""
        if not self.service_text:
            return {}
        cells = service_cells(self.state, self.service_text)
        found = written(self.service_text, dict.fromkeys(cells, True), self.state.hosts)
        return {cell: allowed or self._always_served(cell) for cell, allowed in found.items()}

    def _always_served(self, cell: Cell) -> bool:
        end, _, name = cell.target.partition(":")
        behind = services()[name].pod
        direct = end in ("svc", self.state.pods[cell.source]["node"])
        return direct and self._always(cell._replace(target=behind))


@dataclass(frozen=True)
class Scenario:
    """One scenario: its stages in order, the flows held through them, and the lies that must not arrive."""

    id: str
    title: str
    stances: tuple[int, ...]
    stages: tuple[Stage, ...]
    flows: tuple[Cell, ...]
    lies: tuple[tuple[str, str, str], ...]
    size: int


def service_cells(state: State, text: str) -> Iterator[Cell]:
    """The cells of each Service that the text names. Who asks a NodePort: pods their own node, hosts every node."""
    for name, service in services().items():
        for end in ("svc", *NODES):
            target = f"{end}:{name}"
            if target not in text:
                continue
            for facts in service.ports.values():
                kind = (facts.get("protocol", "TCP"), facts["port"])
                for source, pod in state.live.items():
                    if end in ("svc", pod["node"]) or pod.get("host"):
                        yield from (Cell(source, target, *kind, family) for family in (4, 6))


@cache
def population() -> State:
    """Who lives in every scenario."""
    (data,) = _documents(FOLDER / "population.yaml")
    return State(data["namespaces"], data["pods"], {})


@cache
def services() -> dict[str, Service]:
    """The Services that are always there."""
    (data,) = _documents(FOLDER / "population.yaml")
    return {
        name: Service(name, facts["pod"], facts["selector"], facts["ports"], facts.get("nodePort"))
        for name, facts in data["services"].items()
    }


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All of them, file by file."""
    paths = [path for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "population"]
    return tuple(_read(data) for path in paths for data in _documents(path))


def _documents(path: Path) -> Iterator[Facts]:
    yield from yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def _read(data: Facts) -> Scenario:
    assert set(data) <= _KEYS, f"{data.get('id')}: unknown keys {set(data) - _KEYS}"
    return Scenario(
        data["id"],
        data["title"],
        tuple(data["stances"]),
        tuple(_stages(data)),
        tuple(cell for line in data.get("flows", ()) for cell in _flow(line)),
        tuple(_lie(line) for line in data.get("lies", ())),
        data.get("size", 0),
    )


def _stages(data: Facts) -> Iterator[Stage]:
    state = population().over(data)
    yield Stage("as it begins", state, data["expect"], data.get("services", ""))
    for step in data.get("steps", ()):
        assert set(step) <= _STEP_KEYS, f"{data['id']}: unknown keys {set(step) - _STEP_KEYS}"
        agents = tuple(step.get("agents", ()))
        assert set(agents) <= _AGENTS, f"{data['id']}: unknown actions {agents}"
        state = state.over(step).without(step.get("gone") or {})
        anew, leaving = tuple(step.get("anew", ())), tuple(step.get("leaving", ()))
        yield Stage(step["does"], state, step["expect"], step.get("services", ""), anew, leaving, agents)


def _flow(line: str) -> Iterator[Cell]:
    source, _, target, kind = line.split()
    port, _, protocol = kind.partition("/")
    yield from (Cell(source, target, protocol, int(port), family) for family in (4, 6))


def _lie(line: str) -> tuple[str, str, str]:
    source, _, claimed, _, target = line.split()
    return source, claimed, target
