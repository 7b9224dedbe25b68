"""Who has which address, name and folder in the test cluster. Pure; ignores everything that happens.

The control plane stands in the sandbox's own namespace, each node in one of its own; a bridge joins them.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

STATE = Path("/run/kube")
"""Inside the sandbox, where /run is fresh and in memory: it is gone with the last process."""

BRIDGE = "kube0"
HOSTS = (ip_network("172.30.0.0/24"), ip_network("fd30::/64"))
PODS = (ip_network("10.244.0.0/16"), ip_network("fd10:244::/32"))
SERVICES = (ip_network("10.96.0.0/16"), ip_network("fd10:96::/112"))
API_PORT = 6443
DNS_SERVICE = SERVICES[0][10]
CONTROL = tuple(network[1] for network in HOSTS)
MOST_NODES = 99
"""More than one machine carries; their numbers are two digits of a MAC address."""

_FIRST_NODE = 10


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """One node, counted from 1. Its name is also its network namespace's."""

    number: int

    @property
    def name(self) -> str:
        """The Node object's name."""
        return f"node{self.number}"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its own, IPv4 first."""
        return tuple(network[_FIRST_NODE + self.number] for network in HOSTS)

    @property
    def pod_ranges(self) -> tuple[Network, ...]:
        """IPv4 first."""
        return ip_network(f"10.244.{self.number}.0/24"), ip_network(f"fd10:244:{self.number:x}::/64")

    @property
    def folder(self) -> Path:
        """All that its programs keep."""
        return STATE / self.name

    @property
    def kubelet(self) -> Path:
        """The kubelet's folder."""
        return self.folder / "kubelet"

    @property
    def containerd(self) -> Path:
        """The runtime's socket."""
        return self.folder / "containerd.sock"

    @property
    def cni_config(self) -> Path:
        """Where the runtime looks for a conflist."""
        return self.folder / "cni" / "net.d"

    @property
    def cni_plugins(self) -> Path:
        """Where the runtime looks for plugins."""
        return self.folder / "cni" / "bin"


def nodes(count: int) -> tuple[NodeLayout, ...]:
    """The nodes of a cluster of this size."""
    return tuple(NodeLayout(number) for number in range(1, count + 1))


def joined(things: tuple[Address, ...] | tuple[Network, ...]) -> str:
    """As flags of Kubernetes take several."""
    return ",".join(str(thing) for thing in things)


def server(address: str = str(CONTROL[0]), port: int = API_PORT) -> str:
    """The API server's URL."""
    return f"https://{address}:{port}"
