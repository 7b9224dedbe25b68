"""The real seats: a pair of pods in namespaces, their load processes, and the plane applied on their nodes.

Built small instead of by the lab's cluster: no agents (they would take the machine's time while we measure), one
pair of pods, and a dozen of it alive at once. Runs inside a sandbox, whose end takes all of it away. Client and
server share one CPU: a request is then the sum of its work, not a matter of which core was awake, and the
remaining cores keep everybody else away from it. Ignores: removal.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from vallum.dataplane.nftables.plane import NftablesPlane
from vallum.kernel import netns
from vallum.kernel.nft import Nft
from vallum.lab.bench import links
from vallum.lab.bench.load import Client, Server, Spawn
from vallum.lab.bench.results import NONE, TRACKING
from vallum.lab.bench.seats import Sample
from vallum.lab.bench.shapes import PORT, Ends, end
from vallum.model.address import pack
from vallum.model.attachment import Attachment, LocalNode
from vallum.model.errors import KernelError
from vallum.model.objects import Node
from vallum.model.snapshot import Snapshot
from vallum.policy.classify import classify
from vallum.policy.compile import compile_node

PATHS = {"one-node": 1, "two-nodes": 2}
"""Path -> number of nodes."""

TRACK = """table inet vallum_bench {
	chain track {
		type filter hook postrouting priority 90; policy accept;
		ct state established
	}
}
"""
"""The set-up `tracking`: what makes the kernel track, at the hook where the plane judges, and no verdict."""


@contextmanager
def open_arena(tool: Path, cpu: int | None = None) -> Iterator["NamespaceArena"]:
    """An arena inside the sandbox that the caller is in; its processes end with the block."""
    arena = NamespaceArena(tool, cpu)
    try:
        yield arena
    finally:
        arena.close()


class NamespaceArena:
    """See `seats.Arena`."""

    def __init__(self, tool: Path, cpu: int | None) -> None:
        self._tool = tool
        self._cpu = cpu
        self._seats: dict[str, NamespaceSeat] = {}

    def seat(self, path: str, family: int, number: int) -> "NamespaceSeat":
        """See `seats.Arena`."""
        key = f"{path}-{family}-{number}"
        if key not in self._seats:
            self._seats[key] = NamespaceSeat(key, ends_on(PATHS[path], family), self._tool, self._cpu)
        return self._seats[key]

    def close(self) -> None:
        """End all clients and servers."""
        for seat in self._seats.values():
            seat.close()


class NamespaceSeat:
    """See `seats.Seat`. Client on node 1, server on the last node."""

    def __init__(self, name: str, ends: Ends, tool: Path, cpu: int | None) -> None:
        self.ends = ends
        self._nodes = [links.place(name, node.name) for node in self.ends.nodes]
        links.build(name, self.ends)
        self._planes: dict[str, NftablesPlane] = {}
        self._server = Server(_inside(links.place(name, "server")), str(tool), [PORT], cpu)
        address = self.ends.server.addresses[0]
        self._client = Client(_inside(links.place(name, "client")), str(tool), address, PORT, cpu)

    def hold(self, plane: str, snapshot: Snapshot) -> int:
        """See `seats.Seat`. A seat that held one plane takes no other."""
        return sum(
            self._hold(plane, snapshot, node, place) for node, place in zip(self.ends.nodes, self._nodes, strict=True)
        )

    def attempt(self, timeout: float) -> str:
        """See `seats.Seat`."""
        return self._client.attempt(timeout)

    def run(self, requests: int, size: int) -> list[Sample]:
        """See `seats.Seat`."""
        return self._client.run(requests, size)

    def close(self) -> None:
        """End client and server."""
        self._client.close()
        self._server.close()

    def _hold(self, plane: str, snapshot: Snapshot, node: Node, place: str) -> int:
        if plane == NONE:
            return 0
        with netns.entered(place):
            if plane == TRACKING:
                Nft().run(f"add table inet vallum_bench\ndelete table inet vallum_bench\n{TRACK}")
                return 0
            # libnftables opens its socket at once, so each node needs a plane that was made inside it
            held = self._planes.setdefault(place, NftablesPlane())
            ruleset = compile_node(snapshot, node.name)
            held.apply(held.render(ruleset, classify(ruleset), _local(self.ends, node)))
            program = held.read()
        if program is None:
            raise KernelError(f"{place}: the table that was just applied is not there")
        return program.size()


_NODES = {4: "10.255.{}.1", 6: "fd44:0:0:ff{}::1"}
_PODS = {4: "10.44.{}.{}", 6: "fd44:0:0:{}::{}"}
"""As in the lab: node i has 10.44.i.0/24 and fd44:0:0:i::/64."""


def ends_on(count: int, family: int) -> Ends:
    """The client on the first node, the server on the last; the same addresses in every seat."""
    numbers = range(1, count + 1)
    nodes = tuple(Node(f"node-{one}", addresses=(ip_address(_NODES[family].format(one)),)) for one in numbers)
    client = end("client", nodes[0].name, _PODS[family].format(1, 2))
    return Ends(client, end("server", nodes[-1].name, _PODS[family].format(count, 3)), nodes)


def _local(ends: Ends, node: Node) -> LocalNode:
    attached = (
        Attachment(pod.id, links.outer(pod), tuple(map(pack, pod.addresses)))
        for pod in (ends.client, ends.server)
        if pod.node == node.name
    )
    return LocalNode(node.name, tuple(attached), frozenset(map(pack, node.addresses)))


def _inside(place: str) -> Spawn:
    """Starts processes in a namespace: a child is born where its parent's thread is."""

    def spawn(command: Sequence[str]) -> "subprocess.Popen[str]":
        with netns.entered(place):
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return spawn
