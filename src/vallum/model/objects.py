"""The Kubernetes objects that the engine reads, reduced to the fields that matter to it."""

from dataclasses import dataclass
from typing import NamedTuple

from vallum.model.address import Address, Network
from vallum.model.selector import EVERYTHING, Labels, Selector

NAME_LABEL = "kubernetes.io/metadata.name"
"""Always present on a namespace (KEP-2161); the model adds it."""

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
ENCAPSULATIONS = ("always", "cross-subnet", "never")
"""When packets between nodes travel inside others; see `Pool`."""
LEAST_MTU, MOST_MTU = 1280, 65535
"""Bytes. Below the least there is no IPv6 (RFC 8200)."""
PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()} | {ICMP: "ICMP", ICMPV6: "ICMPv6"}


class ObjectId(NamedTuple):
    """Namespace and name; written `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class PodId(ObjectId):
    """Names a pod."""


class PolicyId(ObjectId):
    """Names a NetworkPolicy."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and its labels, `kubernetes.io/metadata.name` included."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Node:
    """A node: own addresses (Node.status and what its agent publishes), and the ranges of its pods.

    Where addresses follow a tree of groups, `groups` are the ranges of those that it is in, outer ones before those
    inside them, and `routers` the addresses of the router on its link that knows the way to the other groups.
    """

    name: str
    labels: Labels = ()
    addresses: tuple[Address, ...] = ()
    pod_ranges: tuple[Network, ...] = ()
    groups: tuple[Network, ...] = ()
    routers: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """A network of pods' addresses, and how packets travel between nodes to it. None: as the agents are set.

    Attributes:
        backend: a name of `network.BACKENDS`.
        encapsulation: `always`, `cross-subnet` (only where a router lies between two nodes) or `never`.
        masquerade: its pods leave for places outside of all pools with an address of their node.
        mtu: of packets to it, in bytes.
    """

    name: str
    network: Network
    backend: str | None = None
    encapsulation: str | None = None
    masquerade: bool | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class NamedPort:
    """A container port (of containers and restartable init containers). Without a name (``""``) no policy means it."""

    name: str
    protocol: int
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. `addresses`: at most one of each family. `created`: RFC 3339, decides who owns an address.

    `owner`: the workload it belongs to, such as `Deployment/web`; empty for a pod that stands alone. `uid`: which of
    the pods that had this name, one after the other; a live source fills it in for pods of its node, which need it.
    """

    id: PodId
    labels: Labels = ()
    node: str | None = None
    addresses: tuple[Address, ...] = ()
    ports: tuple[NamedPort, ...] = ()
    host_network: bool = False
    finished: bool = False
    created: str = ""
    owner: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """An ipBlock: a network less its exceptions."""

    network: Network
    excepts: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of from/to. Selectors that are present are ANDed; nothing at all matches nothing."""

    pods: Selector | None = None
    namespaces: Selector | None = None
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class PolicyPort:
    """One entry of ports. `port` None: all of the protocol; a string: a named port; `end` inclusive."""

    protocol: int
    port: int | str | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One ingress or egress rule. None for peers or ports means any, also for portless protocols."""

    peers: tuple[Peer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A networking.k8s.io/v1 NetworkPolicy. A direction that is None is not isolated by it."""

    id: PolicyId
    pods: Selector = EVERYTHING
    ingress: tuple[PolicyRule, ...] | None = None
    egress: tuple[PolicyRule, ...] | None = None


Object = Namespace | Node | Pool | Pod | Policy
