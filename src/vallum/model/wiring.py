"""Links, routes and neighbours as data: what a network back end wants, and what the kernel was read to hold."""

from dataclasses import dataclass
from ipaddress import ip_address

from vallum.model.address import Address, Network

ROUTE_PROTOCOL = 86
"""rtm_protocol of every route of ours (unassigned in /etc/iproute2/rt_protos): how we know ours from others'."""

GATEWAYS: dict[int, Address] = {4: ip_address("169.254.1.1"), 6: ip_address("fe80::1")}
"""On link in every pod, held by nobody: a permanent neighbour makes it the node's end of the pod's link."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table. `gateway` None: on link. `device` None: found by the gateway."""

    destination: Network
    gateway: Address | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a back end could not plan, for the status of this node. `subject` is what it is about."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """What must exist in the kernel for nodes to reach each other."""

    routes: frozenset[Route] = frozenset()
    problems: tuple[Problem, ...] = ()
