"""What an agent is told, frozen. One value instead of parameters carried through floors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vallum.model.address import Address, Network
from vallum.model.errors import InputError
from vallum.model.ground import Ground
from vallum.model.objects import Pool
from vallum.network.options import Defaults, Options
from vallum.network.pools import overlapped


@dataclass(frozen=True, slots=True)
class Kube:
    """The Kubernetes API as the source. Without `kubeconfig` the service account of the pod that the agent runs in."""

    kubeconfig: Path | None = None


IPAM = ("ranges", "ledger", "cluster")
"""Where addresses come from: the node's podCIDRs, a ledger of this machine, the networks of the cluster."""


@dataclass(frozen=True, slots=True)
class Cni:
    """How the agent serves the container runtime (docs/cni.md).

    Attributes:
        socket: where the shim finds the agent.
        conf_dir: where the conflist goes, last and at once.
        bin_dir: where the shim goes.
        state_dir: what must outlive the agent: cooling addresses and DELs that came while it was away.
        chain: a conflist of another plugin that ours is appended to, instead of wiring pods itself.
        ipam: where addresses come from, of `IPAM`.
        ledger: where they are kept, unless they come from the node's podCIDRs.
    """

    socket: Path = Path("/run/vallum/cni.sock")
    conf_dir: Path = Path("/etc/cni/net.d")
    bin_dir: Path = Path("/opt/cni/bin")
    state_dir: Path = Path("/var/lib/vallum/cni")
    chain: str = ""
    ipam: str = "ranges"
    ledger: Path = Path("/var/lib/vallum/ledger")


@dataclass(frozen=True, slots=True)
class Travel:
    """How packets travel between nodes and away from them, where no pool says otherwise (docs/network.md).

    Attributes:
        encapsulation: of `objects.ENCAPSULATIONS`.
        masquerade: pods leave for places outside of all pods' ranges with an address of their node.
        services: networks of the cluster's Services.
        vxlan_id: the VNI.
        vxlan_port: UDP.
        vxlan_checksum: outer checksums are left to the link.
        outer: family of outer packets, where two nodes have both.
        mtu: of pods' links and of packets between nodes, in bytes; None: as large as the way allows.
    """

    encapsulation: str = "always"
    masquerade: bool = False
    services: tuple[Network, ...] = ()
    vxlan_id: int = 86
    vxlan_port: int = 8472
    vxlan_checksum: bool = True
    outer: int = 4
    mtu: int | None = None

    def check(self, pools: Iterable[Pool]) -> None:
        """Raises InputError where Services are to have addresses that pods have."""
        for pool in pools:
            if overlap := overlapped(pool, self.services):
                raise InputError(f"Network {pool.name} cidr", overlap)

    def defaults(self, backend: str) -> Defaults:
        """For `network.roads`."""
        return Defaults(backend, self.encapsulation, self.masquerade, self.services)

    def options(self, ground: Ground, sources: tuple[Address, ...]) -> Options:
        """For back ends, on this ground."""
        return Options(
            ground, self.vxlan_id, self.vxlan_port, self.vxlan_checksum, self.outer, self.mtu, sources=sources
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one agent.

    Attributes:
        node: the name of the node it serves, as in Node objects and spec.nodeName.
        source: the folder of manifests that it watches (`--source folder:DIR`), or Kubernetes.
        plane: a name of `dataplane.PLANES`.
        backend: a name of `network.BACKENDS`, or `none`.
        socket: where its API listens.
        least: seconds between two reconciles at least.
        most: seconds between two looks at the kernel at most.
        mark_mask: bits of the conntrack mark that planes may use to remember what they allowed.
        close_unknown: addresses of the node's pod ranges that no living pod has are closed (stance 17).
        cni: how it serves the container runtime; None: pods are wired by somebody else.
        travel: how packets travel between nodes.
        health: address and port of `/healthz` and `/readyz`, None for none.
    """

    node: str
    source: Path | Kube
    plane: str = "nftables"
    backend: str = "hostgw"
    socket: Path = Path("/run/vallum/agent.sock")
    least: float = 0.0
    most: float = 30.0
    mark_mask: int = 0xFFFF0000
    close_unknown: bool = False
    cni: Cni | None = None
    health: tuple[str, int] | None = None
    travel: Travel = field(default_factory=Travel)
