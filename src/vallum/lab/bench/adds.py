"""How long an ADD takes with nobody shooting, beside the reference plugins bridge and host-local in the same rounds.

Both are called as a runtime does, one right after the other on nodes of one machine, in random order: what the machine
does meanwhile falls on both. The reference has a node without anything else, IPv4 only, and waits for no rules.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from vallum.kernel import netns
from vallum.lab.bench import arms
from vallum.lab.bench.arms import SPACE
from vallum.lab.bench.attach import Plugin, Sandbox
from vallum.lab.bench.kubesite import Line
from vallum.lab.kube import layout
from vallum.lab.kube.client import Api

REFERENCE_NODE = "reference"
_PODS = f"/api/v1/namespaces/{SPACE}/pods"


@dataclass(frozen=True, slots=True)
class Adds:
    """Milliseconds of each round, ours and the reference's. `selecting`: policies, of all, that select the pod."""

    policies: int
    selecting: int
    ours: tuple[float, ...]
    reference: tuple[float, ...]


def reference() -> Plugin:
    """The reference plugins on a node of their own, which is made here."""
    netns.create(REFERENCE_NODE)
    ranges = [[{"subnet": "10.99.0.0/16"}]]
    addresses = {"type": "host-local", "ranges": ranges, "dataDir": str(layout.STATE / "reference")}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": addresses}
    return Plugin(Path("/usr/lib/cni"), REFERENCE_NODE, {"cniVersion": "1.0.0", "name": "reference", **bridge})


def rounds(api: Api, node: str, plugins: tuple[Plugin, Plugin], policies: tuple[int, int], count: int) -> Adds:
    """So many rounds. `plugins`: ours and the reference; `policies`: all, and for the pod. Raises KernelError."""
    line, random = Line(api), Random(count)
    found: tuple[list[float], list[float]] = [], []
    try:
        for number in range(count):
            name = f"round-{policies[0]}-{number}"
            made = line.send("POST", _PODS, arms.starting(name, "guarded", node))
            for which in random.sample((0, 1), 2):
                uid = "" if which else made.body["metadata"]["uid"]
                found[which].append(_round(plugins[which], f"{name}-{which}", name, uid))
            line.send("DELETE", f"{_PODS}/{name}", {"gracePeriodSeconds": 0})
    finally:
        line.close()
    return Adds(*policies, tuple(found[0]), tuple(found[1]))


def _round(plugin: Plugin, place: str, pod: str, uid: str) -> float:
    netns.create(place)
    sandbox = Sandbox(place, f"c{place}", SPACE, pod, uid)
    try:
        took = plugin.add(sandbox).milliseconds
        plugin.delete(sandbox)
    finally:
        netns.delete(place)
    return took
