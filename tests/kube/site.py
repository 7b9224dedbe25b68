"""The cluster that the scenarios play on: brought from one state to the next, and known to hold it.

Only what differs is sent. A state is held when the world that every agent enforces is the one that was sent: asked
of their sockets, never waited for by time. Ignores what should follow from it.
"""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube.probing import Askers
from kube.scenarios import objects
from kube.scenarios.judged import read
from kube.scenarios.scenario import Stage, State, services
from vallum.lab.kube.agents import socket_of
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster, condition
from vallum.lab.kube.component import until
from vallum.model.errors import InputErrors
from vallum.model.objects import Object, Pod
from vallum.model.snapshot import Key, Snapshot, key_of

_HELD, _PODS = 20.0, 90.0
_NOTHING = State({}, {}, {})
_POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/{}"


@dataclass
class Site:
    """See the file's head.

    `pods` are those of the state as the API shows them, `addresses` what places stand for, `leaving` the pods whose
    deletion has begun, `spaces` every namespace that was ever ours.
    """

    kube: KubeCluster
    state: State = _NOTHING
    pods: dict[str, Manifest] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    spaces: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Processes in pods are opened as they are asked."""
        self.askers = Askers(self.kube)

    def enter(self, stage: Stage) -> None:
        """Bring about a stage and return when every agent that runs enforces it."""
        for action in stage.agents:
            if action in ("stop", "kill"):
                self._each_agent(action)
        self._go(stage.state, frozenset(stage.anew), frozenset(stage.leaving))
        if "start" in stage.agents:
            self._each_agent("start")
        self.await_held()
        if "wipe" in stage.agents:
            self._wipe()

    def leave(self) -> None:
        """Agents run again, and nothing of ours is left but what every scenario has."""
        self._each_agent("start")

    def close(self) -> None:
        """Take everything away."""
        self.leave()
        self.askers.close()
        self._go(_NOTHING, frozenset(), frozenset())

    # the agents

    def _each_agent(self, action: str) -> None:
        for agent in self.kube.agents.values():
            getattr(agent, action)()

    def _wipe(self) -> None:
        """Delete our table on every node, as somebody else would, and wait until the agents say that it is restored."""
        before = {name: self._status(name)["repaired"] for name in self.kube.agents}
        for name in before:
            ran = self.kube.run_on(name, ("nft", "delete", "table", "inet", "vallum"))
            assert ran.code == 0, ran.err
        for name, repaired in before.items():
            self._until_repaired(name, repaired)

    def _until_repaired(self, name: str, before: int) -> None:
        until(lambda: self._status(name)["repaired"] > before, _HELD, lambda: f"{name} does not restore the table")

    def _status(self, name: str) -> dict[str, Any]:
        return next(_asked(socket_of(self._layout(name)), {"op": "status"}))

    def _layout(self, name: str) -> Any:
        return next(each for each in self.kube.layouts if each.name == name)

    def explain(self, node: str, question: dict[str, Any]) -> str:
        """Why the agent of a node lets a probe pass or not."""
        if node not in self.kube.agents or not self.kube.agents[node].running:
            return "no agent runs there"
        answer = next(_asked(socket_of(self._layout(node)), {"op": "explain", "probe": question}))
        return str(answer.get("text", answer))

    def await_held(self) -> None:
        """Wait until the world that each running agent enforces is this one. Raises KernelError naming what is not."""
        wanted = self._facts(read(objects.world(self.state, self.addresses)))
        for name, agent in self.kube.agents.items():
            if agent.running:
                self._until_held(name, wanted)

    def _until_held(self, name: str, wanted: dict[Key, Any]) -> None:
        until(
            lambda: not _differing(wanted, self._held(name)),
            _HELD,
            lambda: f"{name} does not hold {_differing(wanted, self._held(name))}",
        )

    def _held(self, name: str) -> dict[Key, Any]:
        try:
            lines = _asked(socket_of(self._layout(name)), {"op": "world"})
            first = next(lines)
            return self._facts(read([next(lines) for _ in range(first.get("objects", 0))]))
        except (OSError, StopIteration, InputErrors):  # not there yet, or an address has two owners for a moment
            return {}

    def _facts(self, snapshot: Snapshot) -> dict[Key, Any]:
        """What decides, of all objects in our namespaces. Finished pods and hosts have no address of their own."""
        kinds = (snapshot.namespaces, snapshot.pods, snapshot.policies)
        things: Iterator[Object] = (thing for kind in kinds for thing in kind.values())
        return {key_of(thing): _fact(thing) for thing in things if _space(thing) in self.spaces}

    # the objects

    def _go(self, state: State, anew: frozenset[str], leaving: frozenset[str]) -> None:
        before, self.state = self.state, state
        self.spaces |= state.namespaces.keys()
        again = anew | {name for name in before.pods.keys() & state.pods.keys() if self._other(before, state, name)}
        self._remove(before, state, again)
        self.kube.api.apply(
            objects.namespace(name, labels)
            for name, labels in state.namespaces.items()
            if before.namespaces.get(name) != labels
        )
        if not before.namespaces.keys() & {"x"} and state.namespaces:
            self.kube.api.apply(objects.service(each) for each in services().values())
        made = [name for name in state.pods if name in again or name not in before.pods]
        self.kube.api.apply(objects.pod(name, state.pods[name]) for name in made)
        for name in state.pods.keys() - set(made):
            self._relabel(name, before.pods[name]["labels"], state.pods[name]["labels"])
        self._await_pods(made)
        self._put_policies(before, state, renewed=bool(made))
        for name in leaving - self.leaving:
            self.kube.api.delete("v1", "Pod", name.partition("/")[2], name.partition("/")[0])
        self.leaving = (self.leaving | leaving) & state.pods.keys()

    def _other(self, before: State, state: State, name: str) -> bool:
        """Reports whether more than a pod's labels differ, or it is leaving and another must come."""
        old, new = ({**each.pods[name], "labels": None} for each in (before, state))
        return old != new

    def _remove(self, before: State, state: State, again: frozenset[str]) -> None:
        gone = [name for name in before.pods if name in again or name not in state.pods]
        for name in gone:
            space, _, own = name.partition("/")
            self.kube.api.delete("v1", "Pod", own, space, grace=0)
            self.pods.pop(name, None)
        self.leaving -= set(gone)
        for name in before.policies.keys() - state.policies.keys():
            space, _, own = name.partition("/")
            self.kube.api.delete("networking.k8s.io/v1", "NetworkPolicy", own, space)
        for name in before.namespaces.keys() - state.namespaces.keys():
            self.kube.api.delete("v1", "Namespace", name)
        self.kube.wait_gone([{"metadata": objects.metadata(name)} for name in gone], _PODS)
        spaces = before.namespaces.keys() - state.namespaces.keys()
        until(lambda: not any(self.kube.api.find("v1", "Namespace", name) for name in spaces), _PODS, lambda: "")

    def _relabel(self, name: str, old: dict[str, str], new: dict[str, str]) -> None:
        if old != new:
            space, _, own = name.partition("/")
            change = dict.fromkeys(old.keys() - new.keys()) | new
            self.pods[name] = self.kube.api.merge("v1", "Pod", own, {"metadata": {"labels": change}}, space)

    def _await_pods(self, made: list[str]) -> None:
        """Ready by the kubelet's own probe, or finished."""
        over = [name for name in made if self.state.pods[name].get("finished")]
        live = [name for name in made if name not in over]
        ready = self.kube.wait_ready([{"metadata": objects.metadata(name)} for name in live], _PODS)
        self.pods |= dict(zip(live, ready, strict=True))
        until(lambda: all(self._finished(name) for name in over), _PODS, lambda: f"not all of {over} have finished")
        if made:
            self.addresses = dict(self._addresses())

    def _finished(self, name: str) -> bool:
        space, _, own = name.partition("/")
        self.pods[name] = self.kube.api.get("v1", "Pod", own, space)
        return bool(self.pods[name]["status"]["phase"] == "Succeeded")

    def _put_policies(self, before: State, state: State, *, renewed: bool) -> None:
        """New ones are made, others replaced as a whole where they differ or where addresses in them may be new."""
        for name, spec in state.policies.items():
            wanted = objects.policy(name, spec, self.addresses)
            if name not in before.policies:
                self.kube.api.apply([wanted])
            elif renewed or before.policies[name] != spec:
                self.kube.api.request("PUT", _POLICIES.format(*name.split("/")), wanted)

    def _addresses(self) -> Iterator[tuple[str, str]]:
        for node in self.kube.api.list("v1", "Node"):
            name = node["metadata"]["name"]
            held = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
            yield from _by_family(f"{name}.ip", held)
            yield from _by_family(f"{name}.pods", node["spec"]["podCIDRs"])
        for name, pod in self.pods.items():
            yield from _by_family(f"{name}.ip", [each["ip"] for each in pod["status"].get("podIPs", ())])
        for name in services():
            space, _, own = name.partition("/")
            found = self.kube.api.get("v1", "Service", own, space)["spec"]["clusterIPs"]
            yield from _by_family(f"svc:{name}.ip", found)

    def unready(self) -> list[str]:
        """Pods that the kubelet cannot reach by now."""
        live = self.state.live.keys() - self.leaving
        every = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in self.kube.api.list("v1", "Pod")}
        return sorted(name for name in live if not condition(every[name], "Ready"))


def _asked(path: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What an agent answers, line by line. Raises OSError where it is not there or says nothing for long."""
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(_HELD)
        end.connect(str(path))
        end.sendall(json.dumps(request).encode() + b"\n")
        with end.makefile("rb") as lines:
            yield from map(json.loads, lines)


def _by_family(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    yield from ((f"{name}6" if ":" in value else name, value) for value in values)


def _space(thing: Object) -> str | None:
    return thing.id.namespace if hasattr(thing, "id") else thing.name


def _fact(thing: Object) -> object:
    if not isinstance(thing, Pod):
        return thing
    own = () if thing.finished or thing.host_network else frozenset(thing.addresses)
    return thing.labels, thing.node, own, frozenset(thing.ports), thing.host_network, thing.finished


def _differing(wanted: dict[Key, Any], held: dict[Key, Any]) -> list[Key]:
    return sorted(key for key in wanted.keys() | held.keys() if wanted.get(key) != held.get(key))
