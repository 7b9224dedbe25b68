"""What an agent is told, frozen. One value instead of parameters carried through floors."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one agent.

    Attributes:
        node: the name of the node it serves, as in Node objects and spec.nodeName.
        world: the folder of manifests that it watches (`--source folder:DIR`).
        plane: a name of `dataplane.PLANES`.
        backend: a name of `network.BACKENDS`, or `none`.
        socket: where its API listens.
        least: seconds between two reconciles at least.
        most: seconds between two looks at the kernel at most.
        mark_mask: bits of the conntrack mark that planes may use to remember what they allowed.
    """

    node: str
    world: Path
    plane: str = "nftables"
    backend: str = "hostgw"
    socket: Path = Path("/run/vallum/agent.sock")
    least: float = 0.0
    most: float = 30.0
    mark_mask: int = 0xFFFF0000
