"""Case files (tests/cases/*.yaml): a corner of the semantics as a small world and the answers that it must give.

    title: a sentence                        stance: the number in docs/semantics.md, or a list of them, or `old forms`
    namespaces: {name: labels}               (optional; used ones exist anyway)
    pods: {ns/name: {labels, node, addresses, ports, phase, created, spec}}      spec: merged over the pod's
    policies: {ns/name: spec}                written as in a manifest, read by the strict reader
    manifests: |  api: "2016"                further documents as they are; the meaning of old ones
    probes: {"FROM -> TO 80/TCP": allow}     or `ICMP`, `ICMP 3/4` (type and code), a protocol number; `FROM as ADDRESS`
                                             lies about its source
    steps: [{does, namespaces, pods, policies, gone: {pods: [...], ...}, probes}]   what changes then, and the answers

An end is ns/pod or an address. A probe between pods is sent in each family that both have. In a step what is named is
replaced as a whole; a namespace that is gone takes everything in it along.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from build import walk
from vallum.analysis.probe import Probe, parse
from vallum.lab import topology
from vallum.model.objects import Object, Pod, PodId
from vallum.sources.folder import read_world, snapshot

FOLDER = Path(__file__).parent / "cases"
NODES = 2
_LINE = re.compile(
    r"(?P<source>\S+)(?: as (?P<lie>\S+))? -> (?P<target>\S+) (?:(?P<port>\d+)/)?(?P<protocol>\w+)"
    r"(?: (?P<type>\d+)/(?P<code>\d+))?$"
)
_WORLD = ("namespaces", "pods", "policies")
_KEYS = {"title", "stance", "manifests", "api", "probes", "steps", *_WORLD}
_STEP_KEYS = {"does", "gone", "probes", *_WORLD}
OLD_FORMS = "old forms"


@dataclass(frozen=True)
class Step:
    """A world, as stated and as the lab completes it with addresses and nodes, and what must become of its probes."""

    does: str
    objects: tuple[Object, ...]
    completed: tuple[Object, ...]
    probes: tuple[tuple[Probe, bool], ...]


@dataclass(frozen=True)
class Case:
    """One corner: a world, and the changes that it goes through. Stances are numbers or `old forms`."""

    name: str
    title: str
    stances: tuple[int | str, ...]
    steps: tuple[Step, ...]

    @property
    def objects(self) -> tuple[Object, ...]:
        """As stated before anything changes."""
        return self.steps[0].objects


@cache
def cases() -> tuple[Case, ...]:
    """All case files."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")))


def _read(path: Path) -> Case:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(data) <= _KEYS, f"{path.name}: unknown keys {set(data) - _KEYS}"
    stances = data["stance"] if isinstance(data["stance"], list) else [data["stance"]]
    return Case(path.stem, data["title"], tuple(stances), tuple(_steps(path.stem, data)))


def _steps(name: str, data: dict[str, Any]) -> Iterator[Step]:
    before: topology.Topology | None = None
    for number, stage in enumerate(_stages(name, data)):
        objects = _objects(stage)
        before = topology.plan(objects, NODES, (), before)
        completed = topology.complete(objects, before)
        pods = {thing.id: thing for thing in completed if isinstance(thing, Pod)}
        found: list[tuple[Probe, bool]] = []
        for line, expected in stage["probes"].items():
            assert expected in ("allow", "deny"), f"{name}: {line}: {expected}"
            id_ = f"{name}#{number}.{len(found)}"
            found += [(probe, expected == "allow") for probe in _probes(id_, line, pods)]
        yield Step(stage.get("does", "as it begins"), objects, completed, tuple(found))


def _stages(name: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The case before its steps and after each of them, every one as a whole world."""
    world = {key: dict(data.get(key) or {}) for key in _WORLD}
    fixed = {"manifests": data.get("manifests", ""), "api": data.get("api")}
    yield fixed | world | {"probes": data["probes"]}
    for step in data.get("steps", ()):
        assert set(step) <= _STEP_KEYS, f"{name}: unknown keys {set(step) - _STEP_KEYS}"
        world = {key: world[key] | (step.get(key) or {}) for key in _WORLD}
        for key, names in (step.get("gone") or {}).items():
            world = _without(world, key, names)
        yield fixed | world | {"probes": step["probes"], "does": step["does"]}


def _without(world: dict[str, dict[str, Any]], key: str, names: list[str]) -> dict[str, dict[str, Any]]:
    assert all(name in world[key] for name in names), f"not all of {key} {names} are there"
    inside = tuple(f"{name}/" for name in names if key == "namespaces")
    return {
        kind: {
            name: facts
            for name, facts in entries.items()
            if not (kind == key and name in names) and not name.startswith(inside)
        }
        for kind, entries in world.items()
    }


def _probes(name: str, line: str, pods: dict[PodId, Pod]) -> Iterator[Probe]:
    found = _LINE.match(line)
    assert found, f"{name}: cannot read {line!r}"
    facts: dict[str, Any] = {"from": found["source"], "to": found["target"], "line": line}
    facts["protocol"] = int(found["protocol"]) if found["protocol"].isdigit() else found["protocol"]
    if found["port"]:
        facts["port"] = int(found["port"])
    if found["type"]:
        facts |= {"type": int(found["type"]), "code": int(found["code"])}
    if found["lie"]:
        yield parse(facts | {"id": name, "source": found["lie"], "family": 6 if ":" in found["lie"] else 4})
        return
    shared = {4, 6}
    for end in (found["source"], found["target"]):
        shared &= _families(end, pods)
    assert shared, f"{name}: no common family in {line!r}"
    for family in sorted(shared):
        yield parse(facts | {"id": f"{name}/{family}", "family": family})


def _families(end: str, pods: dict[PodId, Pod]) -> set[int]:
    if "/" not in end:
        return {6 if ":" in end else 4}
    pod = pods[PodId(*end.split("/"))]
    return {4, 6} if pod.host_network else {address.version for address in pod.addresses}


def _objects(data: dict[str, Any]) -> tuple[Object, ...]:
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        for name, labels in data["namespaces"].items()
    ]
    items += [_pod(name, facts or {}) for name, facts in data["pods"].items()]
    items += [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": _metadata(name), "spec": spec}
        for name, spec in data["policies"].items()
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "world.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), encoding="utf-8")
        (Path(folder) / "manifests.yaml").write_text(data["manifests"], encoding="utf-8")
        return walk(snapshot(read_world(folder, data["api"])))


def _metadata(name: str) -> dict[str, Any]:
    namespace, _, own = name.partition("/")
    return {"namespace": namespace, "name": own}


def _pod(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    assert set(facts) <= {"labels", "node", "addresses", "ports", "phase", "created", "spec"}, f"{name}: {facts}"
    metadata = _metadata(name) | {"labels": facts.get("labels", {})}
    if "created" in facts:
        metadata["creationTimestamp"] = facts["created"]
    spec: dict[str, Any] = {"containers": [{"name": "main", "ports": facts.get("ports", [])}]}
    if "node" in facts:
        spec["nodeName"] = facts["node"]
    status: dict[str, Any] = {"phase": facts.get("phase", "Running")}
    if addresses := facts.get("addresses"):
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec | facts.get("spec", {}),
        "status": status,
    }
