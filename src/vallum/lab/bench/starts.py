"""Pods started under fire by calling the plugin as a runtime does, one after the other on one node.

A few live at a time; the oldest goes when a new one is up, so that addresses come back. Each has an ear from before
its link exists until after its DEL. Every other pod's object is made only after ADD has begun, which must then wait.
What it ignores: containers (`kubelet_starts` has them).
"""

import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from vallum.kernel import netns
from vallum.lab.bench import arms
from vallum.lab.bench.arms import SPACE, Hit
from vallum.lab.bench.attach import Ear, Plugin, Sandbox
from vallum.lab.bench.kubesite import MERGE, Line
from vallum.lab.bench.volley import Volley
from vallum.lab.kube.client import Api
from vallum.model.address import Address, Network
from vallum.model.errors import KernelError

REST = 30.0
"""Seconds for which an address is not given out anew while there are others (stance 17)."""
LIVING = 5
_AHEAD = 4
_LATER = 0.01
"""Seconds between the start of ADD and the making of the pod's object, where that comes second."""
_PATIENCE = 20.0
_GLANCE = 0.001
_PODS = f"/api/v1/namespaces/{SPACE}/pods"
_WORDS = b"let me in"


@dataclass(frozen=True, slots=True)
class Start:
    """One pod's life. Milliseconds.

    Attributes:
        range: which road and range it came by.
        order: whether the pod's object was there before ADD.
        add: how long the plugin ran, counted from when the object was there, too, where that came later.
        first: from the same moment to the first allowed packet.
        hit: what its ear heard.
        reuse: nothing, or whether its IPv4 address, which the other kind had before, had rested.
        witnessed: packets of a pod without permission that another node let through to the witness.
        unheard: packets for which the ear had no room.
        aimed: whether its address was under fire before it had it.
    """

    range: str
    order: str
    add: float
    first: float | None
    hit: Hit
    reuse: str = ""
    witnessed: int = 0
    unheard: int = 0
    aimed: bool = True


@dataclass(slots=True)
class _Pod:
    name: str
    kind: str
    order: str
    sandbox: Sandbox
    ear: Ear
    called: float
    began: float
    add: float
    reuse: str
    addresses: tuple[Address, ...]
    heard: list[tuple[float, Address]]
    aimed: bool = True


@dataclass(frozen=True, slots=True)
class Ground:
    """Where pods start: the node's name and plugin, who shoots at them, and the witness's ear and address."""

    node: str
    plugin: Plugin
    volley: Volley
    roles: Mapping[Address, str]
    witness: Ear
    witness_address: Address


class Starts:
    """Starts pods on a node without a kubelet. Addresses are remembered from one call of `series` to the next."""

    def __init__(self, api: Api, ground: Ground) -> None:
        self._line = Line(api)
        self._other = Line(api)
        self._ground = ground
        self._random = Random(1)
        self._owners: dict[Address, tuple[str, float]] = {}
        self._seen: list[tuple[float, Address]] = []
        self._number = 0
        self._pool = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Close what was opened."""
        self._line.close()
        self._other.close()
        self._pool.shutdown()

    def series(self, range_: str, ranges: Sequence[Network], count: int) -> list[Start]:
        """So many pods in these ranges of the node. Raises KernelError."""
        living: deque[_Pod] = deque()
        found: list[Start] = []
        for _ in range(count):
            targets = self._aim(ranges, living)
            pod = self._start(self._random.choice(tuple(arms.ADMITS)))
            living.append(pod)
            pod.aimed = targets.issuperset(pod.addresses)
            self._aim(ranges, living)
            self._await_first(pod)
            if len(living) > LIVING:
                found.append(self._end(range_, living.popleft()))
        return [*found, *(self._end(range_, pod) for pod in living)]

    def prove(self, ranges: Sequence[Network]) -> None:
        """A pod without a policy hears friend and foe alike: ears hear what comes, so their silence counts.

        Raises KernelError where it does not.
        """
        pod = self._start("open")
        self._aim(ranges, [pod])
        deadline = time.monotonic() + _PATIENCE
        while not {arms.FRIEND, arms.FOE} <= {self._ground.roles.get(source) for _, source in pod.heard}:
            if time.monotonic() > deadline:
                raise KernelError("a pod without policies does not hear both friend and foe: this shows nothing")
            time.sleep(_GLANCE)
            pod.heard += pod.ear.heard()
        self._end("", pod)

    def _aim(self, ranges: Sequence[Network], living: Sequence[_Pod]) -> set[Address]:
        """Fire at those that live, and where the next ones will be."""
        targets = {each for pod in living for each in pod.addresses}
        for network in ranges:
            given = (each for pod in reversed(living) for each in pod.addresses if each in network)
            targets.update(arms.ahead(network, next(given, network[1]), _AHEAD))
        self._ground.volley.aim(sorted(targets, key=str))
        return targets

    def _start(self, kind: str) -> _Pod:
        self._number += 1
        name = f"start-{self._number}"
        netns.create(name)
        ear = Ear(name)
        order = ("object first", "ADD first")[self._number % 2]
        if order == "ADD first":
            sandbox = Sandbox(name, f"c{name}", SPACE, name)
            calling = self._pool.submit(self._ground.plugin.add, sandbox)
            time.sleep(_LATER)
            began = self._make(name, kind)[1]
            call = calling.result()
        else:
            uid, _ = self._make(name, kind)
            sandbox = Sandbox(name, f"c{name}", SPACE, name, uid)
            call = self._ground.plugin.add(sandbox)
            began = call.began
        add = 1000 * (call.ended - began)
        reuse = self._reuse(call.addresses[0], kind, call.began)
        pod = _Pod(name, kind, order, sandbox, ear, call.began, began, add, reuse, call.addresses, [])
        self._knock(pod)
        status = {"phase": "Running", "podIP": str(pod.addresses[0]), "podIPs": [{"ip": str(a)} for a in pod.addresses]}
        self._line.send("PATCH", f"{_PODS}/{name}/status", {"status": status}, MERGE)
        return pod

    def _make(self, name: str, kind: str) -> tuple[str, float]:
        answer = self._line.send("POST", _PODS, arms.starting(name, kind, self._ground.node))
        return answer.body["metadata"]["uid"], answer.answered

    def _reuse(self, address: Address, kind: str, now: float) -> str:
        before, freed = self._owners.get(address, (kind, 0.0))
        if before == kind:
            return ""
        return "rested" if now - freed >= REST else "at once"

    def _knock(self, pod: _Pod) -> None:
        """A few datagrams to the witness, before anybody can have heard of this pod's address."""
        with netns.entered(pod.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(3):
                sock.sendto(_WORDS, (str(self._ground.witness_address), 9))

    def _await_first(self, pod: _Pod) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not arms.hit(pod.kind, pod.heard, self._ground.roles).allowed:
            if time.monotonic() > deadline:
                raise KernelError(f"{pod.name} ({pod.kind}) heard nothing that it admits in {_PATIENCE:.0f} s")
            time.sleep(_GLANCE)
            pod.heard += pod.ear.heard()

    def _end(self, range_: str, pod: _Pod) -> Start:
        self._knock(pod)
        call = self._ground.plugin.delete(pod.sandbox)
        self._owners[pod.addresses[0]] = pod.kind, call.ended
        pod.heard += pod.ear.heard()
        hit = arms.hit(pod.kind, pod.heard, self._ground.roles)
        self._seen += self._ground.witness.heard()
        witnessed = sum(
            source in pod.addresses and pod.called <= moment <= call.ended for moment, source in self._seen
        ) * (pod.kind != "guarded")
        self._seen = [each for each in self._seen if each[0] > call.ended - _PATIENCE]
        unheard = pod.ear.missed() + self._ground.witness.missed()
        pod.ear.close()
        self._other.send("DELETE", f"{_PODS}/{pod.name}", {"gracePeriodSeconds": 0})
        netns.delete(pod.name)
        first = None if hit.first is None else 1000 * (hit.first - pod.began)
        return Start(range_, pod.order, pod.add, first, hit, pod.reuse, witnessed, unheard, pod.aimed)


@contextmanager
def starting(api: Api, ground: Ground) -> Iterator[Starts]:
    """Starts that are closed in the end."""
    made = Starts(api, ground)
    try:
        yield made
    finally:
        made.close()
