"""What a back end is told beside the world: how it was set, and the ground that this node's kernel offers.

Frozen values only. What it ignores: who reads the kernel (`agent.hands`), and which pool asks for which back end
(`roads`).
"""

from dataclasses import dataclass, field

from vallum.model.address import Address, Network
from vallum.model.ground import Ground


@dataclass(frozen=True, slots=True)
class Defaults:
    """How packets travel where no pool says otherwise.

    Attributes:
        backend: a name of `network.BACKENDS`.
        encapsulation: as in `objects.Pool`.
        masquerade: as there.
        services: networks of virtual addresses; no pod has an address there.
    """

    backend: str = "hostgw"
    encapsulation: str = "always"
    masquerade: bool = False
    services: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """Settings that hold for the whole node, the same on all nodes of a cluster but for `ground`.

    Attributes:
        vni: of the vxlan devices.
        port: outer UDP destination port of vxlan.
        checksum: as in `wiring.Vxlan`.
        outer: family of outer packets, 4 or 6, where both ends have both.
        mtu: of pods' links, in bytes; None: computed.
        sources: addresses of this node inside its own pod ranges, at most one of each family, that no pod ever gets:
            what the node itself sends through a tunnel comes from them. A family without one: the kernel chooses.
    """

    ground: Ground = field(default_factory=Ground)
    vni: int = 86
    port: int = 8472
    checksum: bool = True
    outer: int = 4
    mtu: int | None = None
    sources: tuple[Address, ...] = ()
