"""A running lab: a cluster of namespaces, an agent a node, servers in the pods, one world. Lives inside the sandbox.

Applying a world: plan, wire, write the folder, wait until every agent enforces it and has read its pods' rules back,
then set the links of the new pods up. So a pod sends and receives nothing before it is protected.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from vallum.analysis.probe import Probe
from vallum.analysis.verdicts import Verdicts
from vallum.ipam.topology import Layout
from vallum.kernel import netns
from vallum.lab import topology as plans
from vallum.lab.addressing import Addressing, ByGroup, ByNode
from vallum.lab.agents import AgentProcess
from vallum.lab.cluster import Cluster
from vallum.lab.folder import WorldFolder
from vallum.lab.probing import Outcome, Prober, outside_of
from vallum.lab.servers import Servers
from vallum.model.address import Address
from vallum.model.errors import InputError
from vallum.model.objects import SCTP, TCP, UDP, Object, Pod, PodId, Pool
from vallum.model.snapshot import Snapshot, snapshot_of

READY = 20.0
"""Seconds that agents have to enforce a world."""
_START = 2.0
"""Seconds more for each of them while they start, on a machine that has few cores for many."""


@dataclass(frozen=True, slots=True)
class LabSettings:
    """What a lab is told.

    Attributes:
        nodes: how many there are at least; None: two, or with a layout one for each of its groups.
        plane: of every agent.
        backend: of every agent.
        folder: where the world, sockets and logs are.
        layout: networks and topologies that addresses and links follow.
        ledger: the file in which addresses are kept then; None: one in the folder.
        agent: further words on every agent's command line.
        subnets: how many the nodes are spread over, without a layout.
    """

    nodes: int | None = None
    plane: str = "nftables"
    backend: str = "hostgw"
    folder: Path = Path("/run/vallum-lab")
    layout: Layout | None = None
    ledger: Path | None = None
    agent: tuple[str, ...] = ()
    subnets: int = 1


class Lab:
    """See the file's head. Made by `started`; used from one event loop."""

    def __init__(self, settings: LabSettings, objects: tuple[Object, ...]) -> None:
        self.settings = settings
        self.stated = objects
        self.addressing = _addressing(settings)
        self.topology = self.addressing.start(objects)
        self.cluster = Cluster(self.topology)
        self.servers = Servers()
        self.agents = {node.name: self._agent(node) for node in self.topology.nodes}
        self.prober = Prober(self.servers, self.agents.values())
        self.world = WorldFolder(settings.folder)
        self.revision = ""
        self.verdicts = Verdicts(self.snapshot)

    def _agent(self, node: plans.NodePlan) -> AgentProcess:
        options = ("--plane", self.settings.plane, "--backend", self.settings.backend, *self.settings.agent)
        return AgentProcess(node, self.settings.folder, options)

    @property
    def snapshot(self) -> Snapshot:
        """The world as the agents see it."""
        return snapshot_of(self._complete(), self.revision)

    def _complete(self) -> tuple[Object, ...]:
        """The world with what the lab assigned, and the layout's networks as pools where it does not state them."""
        stated = {each.name for each in self.stated if isinstance(each, Pool)}
        layout = self.settings.layout.networks if self.settings.layout is not None else ()
        pools = (network.pool for network in layout if network.name not in stated)
        return (*plans.complete(self.stated, self.topology), *pools)

    async def start(self) -> None:
        """Build, start the agents and wait until all of them enforce the world."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        netns.share_folder()
        self.cluster.build()
        self.revision = self.world.replace(self._complete())
        for agent in self.agents.values():
            agent.start()
        await self.enforced(READY + _START * len(self.agents))
        await self._settle(self.stated_pods())

    async def apply(self, objects: tuple[Object, ...], extra_outside: tuple[Address, ...] = ()) -> float:
        """Replace the world. Returns the seconds from writing it until every agent enforces it.

        Raises InputErrors when it cannot be, and then nothing has changed; KernelError when an agent fails.
        """
        topology = self.addressing.plan(objects, extra_outside, self.topology)
        gone = {pod.netns for pod in self.topology.pods} - {pod.netns for pod in topology.pods}
        for namespace in gone:
            self.servers.forget(namespace)
        changes = self.cluster.apply(topology)
        for pod in set(changes.removed) & set(changes.added):
            self.servers.forget(topology.namespace_of(pod))
        self.stated, self.topology = objects, topology
        self.revision = self.world.replace(self._complete())
        self.verdicts = Verdicts(self.snapshot)
        await self._settle(changes.added)
        return time.monotonic() - self.world.switched

    async def hold(self, probes: Iterable[Probe]) -> None:
        """Let the router hold the outside addresses that these probes name and that nothing else has."""
        texts = outside_of(probes)
        addresses = []
        for text in texts:
            with contextlib.suppress(ValueError):
                addresses.append(ip_address(text))
        held = set(self.topology.router.outside)
        if not set(addresses) <= held:
            topology = self.addressing.plan(self.stated, tuple({*addresses, *held}), self.topology)
            self.cluster.apply(topology)
            self.topology = topology

    async def probe(self, probes: list[Probe]) -> list[Outcome | InputError]:
        """Send them."""
        await self.hold(probes)
        return await self.prober.send(self.topology, self.verdicts, probes)

    def serve(self) -> None:
        """Open every port that a pod's manifest names."""
        for thing in self.stated:
            if isinstance(thing, Pod) and not thing.finished:
                for port in thing.ports:
                    if port.protocol in (TCP, UDP, SCTP):
                        self.servers.ensure(self.topology.namespace_of(thing.id), port.protocol, port.number)

    def stated_pods(self) -> tuple[PodId, ...]:
        """Every pod that has a namespace of its own."""
        return tuple(pod.pod for pod in self.topology.pods)

    async def enforced(self, seconds: float = READY) -> None:
        """Wait until every agent holds the present revision."""
        for agent in self.agents.values():
            await agent.until(lambda status: status["revision"] == self.revision and status["healthy"], seconds)

    async def _settle(self, pods: Iterable[PodId]) -> None:
        await self.enforced()
        for pod in pods:
            plan = next(plan for plan in self.topology.pods if plan.pod == pod)
            await self.agents[plan.node].until(partial(_is_ready, str(pod), plan.interface), READY)
            self.cluster.link_up(pod)

    async def status(self) -> dict[str, Any]:
        """Nodes with their agents' status, pods with their places, groups with their ranges, routers and nodes."""
        return {
            "revision": self.revision,
            "nodes": [await agent.ask() for agent in self.agents.values()],
            "pods": [
                {
                    "pod": str(plan.pod),
                    "node": plan.node,
                    "addresses": [str(address) for address in plan.addresses],
                    "namespace": plan.netns,
                }
                for plan in self.topology.placed
            ],
            "groups": [
                {
                    "group": router.group,
                    "ranges": list(map(str, router.ranges)),
                    "router": router.netns.removeprefix(plans.NETNS_PREFIX),
                    "nodes": {
                        node.name: list(map(str, node.pod_ranges))
                        for node in self.topology.nodes
                        if node.link == router.netns
                    },
                }
                for router in self.topology.groups
            ],
            "namespaces": {node.name: node.netns for node in self.topology.nodes}
            | {router.netns.removeprefix(plans.NETNS_PREFIX): router.netns for router in self.topology.routers},
            "outside": [str(address) for address in self.topology.router.outside],
        }

    async def stop(self) -> None:
        """End agents, servers and namespaces."""
        for agent in self.agents.values():
            await agent.stop()
        self.servers.close()
        self.cluster.destroy()
        self.addressing.close()


def _addressing(settings: LabSettings) -> Addressing:
    if settings.layout is None:
        return ByNode(settings.nodes, settings.subnets)
    return ByGroup(settings.layout, settings.nodes, settings.ledger or settings.folder / "ledger")


def _is_ready(pod: str, interface: str, status: dict[str, Any]) -> bool:
    """Reports whether the agent has read back the rules of a pod on this link."""
    return bool(status["pods"].get(pod) == interface)


@contextlib.asynccontextmanager
async def started(settings: LabSettings, objects: tuple[Object, ...]) -> AsyncIterator[Lab]:
    """A lab that runs inside the block. Raises InputErrors before anything is built."""
    lab = Lab(settings, objects)
    try:
        await lab.start()
        lab.serve()
        yield lab
    finally:
        await lab.stop()
