"""An arena without a kernel: it answers as the policies say (by `judge`) and takes as long as it is told."""

from collections.abc import Callable
from random import Random

from vallum.lab.bench.seats import OK, Sample
from vallum.lab.bench.shapes import PORT, Ends, end
from vallum.model.address import pack
from vallum.model.objects import TCP, Node
from vallum.model.packet import Packet
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import compile_node
from vallum.policy.judge import judge

Cost = Callable[[str, int], float]


def always(_plane: str, _count: int) -> float:
    return 1.0


class FakeSeat:
    """One pair of pods; `cost(plane, policies)` is the factor on 60 us, `leaky` planes let all through."""

    def __init__(self, arena: "FakeArena", nodes: int) -> None:
        names = tuple(Node(f"node-{number}") for number in range(1, nodes + 1))
        server = end("server", names[-1].name, "10.44.1.3")
        self.ends = Ends(end("client", names[0].name, "10.44.1.2"), server, names)
        self._arena = arena
        self._factor, self._open = 1.0, True

    def hold(self, plane: str, snapshot: Snapshot):
        count = len(snapshot.policies)
        self._arena.held.append((plane, count))
        self._factor = self._arena.cost(plane, count)
        client, server = pack(self.ends.client.addresses[0]), pack(self.ends.server.addresses[0])
        packet = Packet(client, server, TCP, PORT, 40000, sender=self.ends.client.id)
        allowed = judge(compile_node(snapshot, None), packet).allow
        self._open = allowed or plane in self._arena.leaky
        return count

    def attempt(self, timeout: float):
        assert timeout > 0
        return OK if self._open else "connect-timed-out"

    def run(self, requests: int, size: int):
        self._arena.sizes.add(size)
        rng = self._arena.rng
        whole = [60 * self._factor * rng.uniform(0.99, 1.01) for _ in range(requests)]
        samples = [Sample(time / 3, time / 2, time) for time in whole]
        if self._arena.failing:
            samples[0] = Sample(0, 0, 0, "refused")
        return samples


class FakeArena:
    """Seats as they are asked for."""

    def __init__(self, cost: Cost = always, leaky: tuple[str, ...] = (), *, failing: bool = False) -> None:
        self.cost, self.leaky, self.failing = cost, leaky, failing
        self.rng = Random(1)
        self.held = []
        self.sizes = set()
        self.seats = {}

    def seat(self, path: str, family: int, number: int):
        nodes = 1 if path == "one-node" else 2
        return self.seats.setdefault((path, family, number), FakeSeat(self, nodes))
