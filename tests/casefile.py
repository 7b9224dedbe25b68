"""Case files (tests/cases/*.yaml): a corner of the semantics as a small world and the answers that it must give.

    title: a sentence                        stance: the number in docs/semantics.md, or a list of them
    namespaces: {name: labels}               (optional; used ones exist anyway)
    pods: {ns/name: {labels, node, addresses, ports, phase, created, spec}}      spec: merged over the pod's
    policies: {ns/name: spec}                written as in a manifest, read by the strict reader
    probes: {"FROM -> TO 80/TCP": allow}     or `ICMP`, a protocol number; `FROM as ADDRESS` lies about its source

An end is ns/pod or an address. A probe between pods is sent in each family that both have.
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
_LINE = re.compile(r"(?P<source>\S+)(?: as (?P<lie>\S+))? -> (?P<target>\S+) (?:(?P<port>\d+)/)?(?P<protocol>\w+)$")
_KEYS = {"title", "stance", "namespaces", "pods", "policies", "probes"}


@dataclass(frozen=True)
class Case:
    """One corner: objects as the lab completes them, and probes with what must become of them."""

    name: str
    title: str
    stances: tuple[int, ...]
    objects: tuple[Object, ...]
    probes: tuple[tuple[Probe, bool], ...]

    @property
    def completed(self) -> tuple[Object, ...]:
        """With the addresses and nodes that the lab gives."""
        return tuple(topology.complete(self.objects, topology.plan(self.objects, NODES)))


@cache
def cases() -> tuple[Case, ...]:
    """All case files."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")))


def _read(path: Path) -> Case:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(data) <= _KEYS, f"{path.name}: unknown keys {set(data) - _KEYS}"
    stances = data["stance"] if isinstance(data["stance"], list) else [data["stance"]]
    objects = _objects(data)
    things = topology.complete(objects, topology.plan(objects, NODES))
    completed = {thing.id: thing for thing in things if isinstance(thing, Pod)}
    probes = []
    for number, (line, expected) in enumerate(data["probes"].items()):
        assert expected in ("allow", "deny"), f"{path.name}: {line}: {expected}"
        probes += [(probe, expected == "allow") for probe in _probes(f"{path.stem}#{number}", line, completed)]
    return Case(path.stem, data["title"], tuple(stances), objects, tuple(probes))


def _probes(name: str, line: str, pods: dict[PodId, Pod]) -> Iterator[Probe]:
    found = _LINE.match(line)
    assert found, f"{name}: cannot read {line!r}"
    facts: dict[str, Any] = {"from": found["source"], "to": found["target"], "line": line}
    facts["protocol"] = int(found["protocol"]) if found["protocol"].isdigit() else found["protocol"]
    if found["port"]:
        facts["port"] = int(found["port"])
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
        for name, labels in data.get("namespaces", {}).items()
    ]
    items += [_pod(name, facts or {}) for name, facts in data["pods"].items()]
    items += [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": _metadata(name), "spec": spec}
        for name, spec in data["policies"].items()
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "world.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), encoding="utf-8")
        return walk(snapshot(read_world(file)))


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
