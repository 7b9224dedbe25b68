"""What the kernel of a node says of the ground that tunnels and routes stand on, as data.

What it ignores: who reads it (`kernel.ground`) and what is planned with it (`network`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vallum.model.address import Address


@dataclass(frozen=True, slots=True)
class Hop:
    """How the kernel itself would reach an address. `gateway` None: it is on the link of `device`. `mtu` in bytes.

    `source` is the own address that it would use.
    """

    device: str
    gateway: Address | None
    source: Address
    mtu: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What was read from the kernel of this node before planning.

    Attributes:
        hops: by address of another node; one that no route leads to is missing.
        mtu: of the link by which the node reaches others, in bytes; of several the least.
        ipip: the driver that this kernel can run: `kernel`, `bpf`, or nothing, and then `no_ipip` says why.
    """

    hops: Mapping[Address, Hop] = field(default_factory=dict)
    mtu: int = 1500
    ipip: str = ""
    no_ipip: str = ""
