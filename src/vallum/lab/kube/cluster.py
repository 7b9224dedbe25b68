"""A running two-node Kubernetes, for tests: built, watched and changed from inside its sandbox (`box`).

Nothing here takes the whole of it down: the end of the sandbox does. Single components can be stopped, killed and
started again by name, which is what tests of failures want.
"""

import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vallum.kernel import netns
from vallum.lab.kube import agents, control_plane, images, layout, node, wiring
from vallum.lab.kube.binaries import Binaries
from vallum.lab.kube.certs import Authority
from vallum.lab.kube.cgroups import Groups
from vallum.lab.kube.client import Api, Manifest
from vallum.lab.kube.component import Component, until
from vallum.model.errors import InputError, KernelError

CNIS = ("vallum", "bridge", "none")
_START = 120.0
_READY = 90.0


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """What a cluster is told. Raises InputError.

    `cni`: ours, the reference bridge plugin, or none, so that nodes stay unready.
    """

    nodes: int = 2
    proxy: str = "nftables"
    cni: str = "vallum"
    logs: Path = layout.STATE / "logs"

    def __post_init__(self) -> None:
        if self.cni not in CNIS or self.proxy not in node.PROXY_MODES:
            raise InputError("", f"cni is one of {', '.join(CNIS)}, proxy one of {', '.join(node.PROXY_MODES)}")
        if not 1 <= self.nodes <= layout.MOST_NODES:
            raise InputError("", f"a cluster has 1 to {layout.MOST_NODES} nodes, got {self.nodes}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command in a pod did."""

    code: int
    out: str
    err: str


class KubeCluster:
    """See the file's head. `nodes` has the programs of each node by its name, `agents` our agent where cni is ours."""

    def __init__(self, settings: KubeSettings, binaries: Binaries) -> None:
        self.settings = settings
        self.binaries = binaries
        self.layouts = layout.nodes(settings.nodes)
        settings.logs.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(layout.STATE / "pki")
        self.kubeconfig = self.user_kubeconfig("admin", "admin", ("system:masters",))
        self.api = Api(self.kubeconfig)
        self.groups = Groups([each.name for each in self.layouts])
        self.control = {each.name: each for each in control_plane.components(binaries, self.authority, settings.logs)}
        self.nodes = {each.name: self._prepared(each) for each in self.layouts}
        self.agents = {
            each.name: agents.component(each, self.authority, settings.logs)
            for each in self.layouts
            if settings.cni == "vallum"
        }

    def up(self) -> None:
        """Start everything and wait until every node is Ready (with cni none: registered). Raises KernelError."""
        wiring.build(self.layouts)
        for place in self.layouts:
            wiring.link_plugins(place)
            if self.settings.cni == "bridge":
                wiring.configure_reference(place)
        if self.settings.cni == "bridge":
            wiring.route_between(self.layouts)
        for component in (self.control["etcd"], self.control["kube-apiserver"]):
            component.start()
        for each in self.nodes.values():
            each.containerd.start()
        archive = images.write(self.binaries.probe, platform.machine(), layout.STATE / "images.tar")
        with ThreadPoolExecutor() as pool:
            imported = [pool.submit(self._import, each, archive) for each in self.nodes.values()]
            self.control["kube-apiserver"].await_(self.api.ready, _START)
            for one in imported:
                one.result()
        self._join_nodes()

    def components(self) -> Iterator[Component]:
        """Every process of the cluster."""
        yield from self.control.values()
        for each in self.nodes.values():
            yield from (each.containerd, each.kubelet, each.proxy)
        yield from self.agents.values()

    def down(self) -> None:
        """Stop every component. Pods' containers live on; the sandbox's end takes them."""
        for component in self.components():
            component.kill()

    def user_kubeconfig(self, name: str, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig file for any user: what RBAC lets them do is what they can."""
        pair = self.authority.issue(name, user, groups)
        return self.authority.kubeconfig(layout.STATE / f"{name}.kubeconfig", layout.server(), pair)

    def set_proxy_mode(self, mode: str) -> None:
        """Restart every kube-proxy in this mode. Each removes the other mode's rules as it starts."""
        for each in self.nodes.values():
            each.proxy_mode(mode)
            each.proxy.restart()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """The calling thread is in a node's network namespace until the block ends. No await inside."""
        with netns.entered(name):
            yield

    def run_on(self, name: str, words: Sequence[str]) -> Ran:
        """Run a command of the machine in a node's network namespace."""
        with netns.entered(name):
            return _run(words)

    # Pods

    def wait_ready(self, pods: Iterable[Manifest], within: float = _READY) -> list[Manifest]:
        """Wait until these pods are Ready; the pods as they are then. Raises KernelError, saying what holds them."""
        named = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in pods]
        found: dict[tuple[str, str], Manifest] = {}

        def ready() -> bool:
            every = self.api.list("v1", "Pod")
            found.update({(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in every})
            return all(name in found and condition(found[name], "Ready") for name in named)

        until(ready, within, lambda: f"not ready: {'; '.join(self._held(found, named))}")
        return [found[name] for name in named]

    def wait_gone(self, pods: Iterable[Manifest], within: float = _READY) -> None:
        """Wait until these pods are no more."""
        named = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in pods}

        def left() -> set[tuple[str, str]]:
            every = self.api.list("v1", "Pod")
            return named & {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in every}

        until(lambda: not left(), within, lambda: f"still there: {left()}")

    def exec(self, pod: Manifest, words: Sequence[str], stdin: str = "") -> Ran:
        """Run a command inside a pod, as `kubectl exec -i` does."""
        space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        return self.kubectl("exec", "-i", "-n", space, name, "--", *words, stdin=stdin)

    def probe(self, pod: Manifest, targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Try targets (protocol, address, port, family, timeout) from inside a pod, all at once; results in order."""
        lines = "".join(json.dumps({**target, "id": number}) + "\n" for number, target in enumerate(targets))
        ran = self.exec(pod, ["probe", "probe"], lines)
        answers = {answer["id"]: answer for answer in map(json.loads, ran.out.splitlines())}
        if ran.code != 0 or len(answers) != len(targets):
            raise KernelError(f"probing from {pod['metadata']['name']}: {ran.err.strip() or ran.out}")
        return [answers[number] for number in range(len(targets))]

    def logs(self, pod: Manifest) -> str:
        """What a pod's container has printed."""
        space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        ran = self.kubectl("logs", "-n", space, name)
        if ran.code != 0:
            raise KernelError(f"logs of {name}: {ran.err.strip()}")
        return ran.out

    def kubectl(self, *words: str, stdin: str = "") -> Ran:
        """Run kubectl as the administrator."""
        return _run((self.binaries.path("kubectl"), f"--kubeconfig={self.kubeconfig}", *words), stdin)

    # Parts of `up`

    def _prepared(self, each: layout.NodeLayout) -> node.Node:
        group = self.groups.root(each.name)
        made = node.prepare(each, self.binaries, self.authority, group, self.settings.logs)
        made.proxy_mode(self.settings.proxy)
        return made

    def _import(self, each: node.Node, archive: Path) -> None:
        each.containerd.await_(each.layout.containerd.exists, _START)
        words = ("ctr", "--address", str(each.layout.containerd), "--namespace", "k8s.io")
        ran = _run((*words, "images", "import", str(archive)))
        if ran.code != 0:
            raise KernelError(f"import images on {each.layout.name}: {ran.err.strip()}")

    def _join_nodes(self) -> None:
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.control[name].start()
        self.api.apply(node.manifest(each) for each in self.layouts)
        for each in self.nodes.values():
            each.kubelet.start()
            each.proxy.start()
        if self.agents:
            self.api.apply(agents.manifests())
        for agent in self.agents.values():
            agent.start()
        self.api.await_account("default")
        if self.settings.cni != "none":
            until(self.nodes_ready, _START, self._unready)

    def nodes_ready(self) -> bool:
        """Whether every node says that it is Ready. Raises KernelError when a process has ended."""
        ended = next((each for each in self.components() if not each.running), None)
        if ended is not None:
            raise KernelError(f"{ended.name} has ended: {ended.said()}")
        return all(condition(each, "Ready") for each in self.api.list("v1", "Node"))

    def _unready(self) -> str:
        told = [
            f"{each['metadata']['name']}: {one['message']}"
            for each in self.api.list("v1", "Node")
            for one in each["status"].get("conditions", ())
            if one["type"] == "Ready" and one["status"] != "True"
        ]
        return f"nodes are not ready: {'; '.join(told)}"

    def _held(self, found: dict[tuple[str, str], Manifest], named: list[tuple[str, str]]) -> Iterator[str]:
        for space, name in named:
            if not condition(found.get((space, name), {}), "Ready"):
                events = [
                    each.get("message", "")
                    for each in self.api.list("v1", "Event", space)
                    if each["involvedObject"].get("name") == name
                ]
                yield f"{space}/{name} ({events[-1] if events else 'no event'})"


def condition(thing: Manifest, kind: str) -> bool:
    """Whether an object's status says True of this condition."""
    conditions = thing.get("status", {}).get("conditions", ())
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _run(words: Sequence[str], stdin: str = "") -> Ran:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)
