"""What was seen on a node that packets between nodes depend on: the facts from which `doctor` concludes. Pure data.

What it ignores: how they were seen (`examine`), and what any of it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vallum.model.address import Address, Network
from vallum.model.wiring import Problem


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A device that carries pods' packets. `needs`: what must get through between nodes, in words; `mtu` in bytes."""

    device: str
    kind: str
    needs: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Echo requests to a node that nobody may cut into pieces.

    Attributes:
        peer: which node.
        to: its address.
        tunnel: the device that they went through; None for the link between the nodes.
        asked: bytes of the largest IP packet.
        most: bytes of the largest that was answered; None: none was.
        refused: the node says that nobody listens on the tunnel's port.
    """

    peer: str
    to: Address
    tunnel: Tunnel | None
    asked: int
    most: int | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where packets of a node come in, and by which interface this node would answer them."""

    peer: str
    source: Network
    device: str
    back: str


@dataclass(frozen=True, slots=True)
class Stated:
    """An address by which others know this node: the interface that has it, and the one by which a peer is reached."""

    address: Address
    holder: str | None
    peer: str
    used: str
    source: Address


@dataclass(frozen=True, slots=True)
class Foreign:
    """A route of somebody else's that takes packets for a pod range. `device` None: it rejects them."""

    destination: Network
    device: str | None
    protocol: int
    node: str
    range: Network


@dataclass(frozen=True, slots=True)
class OnLink:
    """A network that an interface of this node says it is on, and the pod range of a node that overlaps it."""

    device: str
    network: Network
    node: str
    range: Network


@dataclass(frozen=True, slots=True)
class Symptoms:
    """All of a node.

    Attributes:
        strict: interfaces with a strict reverse path filter.
        closed: by family the interfaces, or `all`, that forward no packets but should.
        tracked: connections that are tracked, and how many can be; both 0 without connection tracking.
        dropped: packets that were dropped at a tunnel, by reason.
        problems: what the agent itself reports.
        untried: what could not be found out, in words.
    """

    node: str
    trials: tuple[Trial, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    strict: frozenset[str] = frozenset()
    closed: Mapping[int, frozenset[str]] = field(default_factory=dict)
    stated: tuple[Stated, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    on_link: tuple[OnLink, ...] = ()
    tracked: tuple[int, int] = (0, 0)
    dropped: tuple[tuple[str, int], ...] = ()
    problems: tuple[Problem, ...] = ()
    untried: tuple[str, ...] = ()
