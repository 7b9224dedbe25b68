"""What `bench throughput` compares: roads with and without policies, under links of two kinds. Pure.

The policies are of the kind that touches every packet's flow on both ends: each selects both pods and admits a port of
its own, in both directions; the last one admits the stream. What it ignores: how any of it is measured.
"""

from dataclasses import dataclass

from vallum.lab.bench.shapes import NAMESPACE, Ends
from vallum.lab.bench.stream import PORT
from vallum.model.objects import NAME_LABEL, TCP, Namespace, Object, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import labels
from vallum.model.snapshot import Snapshot, snapshot_of

DIRECT = "direct"
"""No road of ours: from node to node."""

ROADS = ("hostgw", "ipip", "vxlan")
POLICIES = 1_000
LINK = 3_000_000_000
"""Bits a second of the link in the study of 2016."""

_FIRST_PORT = 10_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured: a road, and on it so many policies that select both pods, or connection tracking alone."""

    road: str
    policies: int = 0
    tracking: bool = False

    def __str__(self) -> str:
        return f"{self.road}, {'tracking alone' if self.tracking else f'{self.policies:,} policies'}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Under what: the links between the nodes with a rate in bits a second or without, segmentation offload or not."""

    rate: int | None
    offload: bool

    @property
    def link(self) -> str:
        """Its short name: what is the bottleneck."""
        return "link-bound" if self.rate is not None else "CPU-bound"

    def __str__(self) -> str:
        return f"{self.link}, offload {'on' if self.offload else 'off'}"


CELLS = (
    Cell(DIRECT),
    *(Cell(road, policies) for road in ROADS for policies in (0, POLICIES)),
    Cell("hostgw", tracking=True),
)
"""Tracking is what every plane that knows flows asks of the kernel: what it costs alone is no cost of the rules."""
CONDITIONS = tuple(Condition(rate, offload) for offload in (True, False) for rate in (LINK, None))


def world(ends: Ends, policies: int, *, without_last: bool = False) -> Snapshot:
    """The two pods and so many policies. Without the last one nobody admits the stream."""
    numbers = [*range(_FIRST_PORT, _FIRST_PORT + policies - 1), PORT] if policies else []
    rules = [PolicyRule(ports=(PolicyPort(TCP, number),)) for number in numbers]
    found = [
        Policy(PolicyId(NAMESPACE, f"allow-{index:05}"), ingress=(rule,), egress=(rule,))
        for index, rule in enumerate(rules)
    ]
    space = Namespace(NAMESPACE, labels({NAME_LABEL: NAMESPACE}))
    things: list[Object] = [space, *ends.nodes, ends.client, ends.server, *found[: len(found) - without_last]]
    return snapshot_of(things, f"{policies}-{without_last}")
