"""The real seats of `bench throughput`: two nodes behind a router, a pod on each, and what an agent would put there.

Links, routes, devices and rules come from the agent's own reconcile, called in the nodes' namespaces; only the process
around it is left out, which would take time from what is measured. The router knows the pods for host-gw alone, so
what another back end carries can go no other way. Ignores: removal; the sandbox does that.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from vallum.agent.hands import Hands
from vallum.agent.reconcile import reconcile
from vallum.agent.settings import Settings
from vallum.kernel import netns
from vallum.kernel.nft import Nft
from vallum.kernel.offload import Offload, switch
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.shaping import Bucket, shape, unshape
from vallum.lab.bench import links
from vallum.lab.bench.arena import TRACK, ends_on
from vallum.lab.bench.load import Spawn
from vallum.lab.bench.stream import Flow, Stream
from vallum.lab.bench.throughput_plan import DIRECT, Cell, Condition, world
from vallum.model.errors import KernelError
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import Engine

_SWITCHED = (Offload.TSO, Offload.GSO)
_ROUTED = "hostgw"
_SILENCE, _PATIENCE = 0.3, 3.0
_AT_ONCE, _WAITING = 1 << 21, 0.02
"""Bytes that the token bucket lets through at once, and seconds of its rate that wait before packets are lost."""


@contextmanager
def open_arena(tool: Path) -> Iterator["RoadArena"]:
    """An arena inside the sandbox that the caller is in; its processes end with the block."""
    arena = RoadArena(tool)
    try:
        yield arena
    finally:
        arena.close()


class RoadArena:
    """See `throughput.Arena`."""

    def __init__(self, tool: Path) -> None:
        self._tool = tool
        self._seats: dict[Cell, RoadSeat] = {}

    def seat(self, cell: Cell) -> "RoadSeat":
        """See `throughput.Arena`."""
        if cell not in self._seats:
            self._seats[cell] = RoadSeat(cell, self._tool)
        return self._seats[cell]

    def set(self, condition: Condition) -> None:
        """See `throughput.Arena`."""
        for seat in self._seats.values():
            seat.set(condition)

    def close(self) -> None:
        """End every process."""
        for seat in self._seats.values():
            seat.close()


class RoadSeat:
    """See `throughput.Seat`."""

    def __init__(self, cell: Cell, tool: Path) -> None:
        self._cell, self._name = cell, f"{cell.road}-{'tracking' if cell.tracking else cell.policies}"
        found = ends_on(2, 4)
        nodes = tuple(_node(each, number, cell.road) for number, each in enumerate(found.nodes, 1))
        self._ends = replace(found, nodes=nodes)
        links.build(self._name, self._ends, known=cell.road == _ROUTED)
        self._hands: dict[str, Hands] = {}
        self._limited = False
        if cell.road == DIRECT:
            places, target = [node.name for node in nodes], nodes[-1].addresses[0]
        else:
            places, target = ["client", "server"], found.server.addresses[0]
        # one CPU carries all of it: with two a stream overtakes itself, and segments are sent again
        cpu = max(os.sched_getaffinity(0))
        ends = [_inside(links.place(self._name, place)) for place in places]
        self._stream = Stream(ends[0], ends[1], str(tool), target, cpu)

    def prove(self) -> None:
        """See `throughput.Seat`."""
        if self._cell.policies:
            self._hold(world(self._ends, self._cell.policies, without_last=True))
            if self._stream.reaches(_SILENCE):
                raise KernelError(f"{self._cell}: the stream gets through without the policy that admits it")
        if self._cell.road != DIRECT:
            self._hold(world(self._ends, self._cell.policies))
        if not self._stream.reaches(_PATIENCE):
            raise KernelError(f"{self._cell}: the stream does not get through")

    def set(self, condition: Condition) -> None:
        """See `throughput.Seat`. Offloads of every veth: of pods, nodes and router, both ends; GRO stays off."""
        for place in self._places():
            with netns.entered(links.place(self._name, place)), Rtnetlink() as netlink:
                for link in netlink.links():
                    for feature in _SWITCHED if link.peer else ():
                        switch(link.name, feature, on=condition.offload)
                for node in self._ends.nodes if place == "router" else ():
                    self._limit(netlink, node.name, condition.rate)
        self._limited = condition.rate is not None

    def run(self, warm: float, length: float) -> Flow:
        """See `throughput.Seat`."""
        return self._stream.run(warm, length)

    def close(self) -> None:
        """End sender and receiver."""
        self._stream.close()

    def _limit(self, netlink: Rtnetlink, device: str, rate: int | None) -> None:
        if rate is not None:
            shape(netlink, device, Bucket(rate // 8, _AT_ONCE, round(rate / 8 * _WAITING)))
        elif self._limited:
            unshape(netlink, device)

    def _places(self) -> list[str]:
        return [*(node.name for node in self._ends.nodes), "router", "client", "server"]

    def _hold(self, snapshot: Snapshot) -> None:
        for node in self._ends.nodes:
            with netns.entered(links.place(self._name, node.name)):
                mtu = self._reconciled(node.name, snapshot)
                if self._cell.tracking:
                    Nft().run(TRACK)
            for pod in (self._ends.client, self._ends.server):
                if pod.node == node.name and mtu is not None:
                    self._set_mtu(node.name, links.outer(pod), mtu)
                    self._set_mtu(pod.id.name, "eth0", mtu)

    def _reconciled(self, node: str, snapshot: Snapshot) -> int | None:
        """Do here what an agent does with this world. The MTU that pods are to have."""
        # without policies there is nothing of ours in the packets' way: the memory plane touches no kernel
        plane = "nftables" if self._cell.policies else "memory"
        settings = Settings(node, Path("/nowhere"), plane, self._cell.road)
        hands = self._hands.get(node) or self._hands.setdefault(node, Hands.open(settings))
        hands.moved = True
        report = reconcile(snapshot, settings, Engine(node), hands, lambda _: None, doubt=False)
        problems = (*report.problems, *report.wiring.problems)
        if problems:
            raise KernelError(f"{self._cell}: {'; '.join(f'{each.subject}: {each.text}' for each in problems)}")
        return report.plan.mtu

    def _set_mtu(self, place: str, device: str, mtu: int) -> None:
        with netns.entered(links.place(self._name, place)), Rtnetlink() as netlink:
            netlink.set_link(device, mtu=mtu)


def _node(node: Node, number: int, road: str) -> Node:
    """With its range; with host-gw it names its router, which knows the ranges."""
    ranges = (ip_network(f"10.44.{number}.0/24"),)
    return replace(node, pod_ranges=ranges, routers=(links.router_of(node),) if road == _ROUTED else ())


def _inside(place: str) -> Spawn:
    """Starts processes in a namespace: a child is born where its parent's thread is."""

    def spawn(command: Sequence[str]) -> "subprocess.Popen[str]":
        with netns.entered(place):
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return spawn
