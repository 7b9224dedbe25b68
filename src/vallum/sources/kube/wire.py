"""The wire shapes of the API, as msgspec reads them: only the fields that are used, everything else is skipped.

Labels, owners and ports stay raw: pods of one ReplicaSet have the same bytes there, so most need no decoding at all.
Nothing is checked here beyond JSON types; `things` and `policies` know what the values mean.
"""

from typing import Generic, TypeVar

from msgspec import Raw, Struct, field

Item = TypeVar("Item")


class Owner(Struct, gc=False):
    """metav1.OwnerReference."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Meta(Struct, gc=False):
    """metav1.ObjectMeta."""

    name: str = ""
    namespace: str = ""
    version: str = field(name="resourceVersion", default="")
    labels: Raw = field(default_factory=Raw)


class PodMeta(Meta, gc=False):
    """What a pod's has besides."""

    uid: str = ""
    created: str | None = field(name="creationTimestamp", default=None)
    owners: Raw = field(name="ownerReferences", default_factory=Raw)


class NodeMeta(Meta, gc=False):
    """What a node's has besides."""

    annotations: dict[str, str] | None = None


class Port(Struct, gc=False):
    """v1.ContainerPort."""

    number: int = field(name="containerPort", default=0)
    name: str = ""
    protocol: str = ""


class Container(Struct, gc=False):
    """v1.Container."""

    ports: Raw = field(default_factory=Raw)
    restart: str | None = field(name="restartPolicy", default=None)


class PodSpec(Struct, gc=False):
    """v1.PodSpec."""

    node: str = field(name="nodeName", default="")
    host_network: bool = field(name="hostNetwork", default=False)
    containers: list[Container] | None = None
    init_containers: list[Container] | None = field(name="initContainers", default=None)


class PodIp(Struct, gc=False):
    """v1.PodIP."""

    ip: str = ""


class PodStatus(Struct, gc=False):
    """v1.PodStatus."""

    phase: str = ""
    ip: str = field(name="podIP", default="")
    ips: list[PodIp] | None = field(name="podIPs", default=None)


class Pod(Struct, gc=False):
    """v1.Pod."""

    meta: PodMeta = field(name="metadata", default_factory=PodMeta)
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)


class Namespace(Struct, gc=False):
    """v1.Namespace."""

    meta: Meta = field(name="metadata", default_factory=Meta)


class NodeSpec(Struct, gc=False):
    """v1.NodeSpec."""

    range: str = field(name="podCIDR", default="")
    ranges: list[str] | None = field(name="podCIDRs", default=None)


class NodeAddress(Struct, gc=False):
    """v1.NodeAddress."""

    type: str = ""
    address: str = ""


class NodeStatus(Struct, gc=False):
    """v1.NodeStatus."""

    addresses: list[NodeAddress] | None = None


class Node(Struct, gc=False):
    """v1.Node."""

    meta: NodeMeta = field(name="metadata", default_factory=NodeMeta)
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


class Expression(Struct, gc=False):
    """metav1.LabelSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class Selector(Struct, gc=False):
    """metav1.LabelSelector."""

    labels: dict[str, str] | None = field(name="matchLabels", default=None)
    expressions: list[Expression] | None = field(name="matchExpressions", default=None)


class Block(Struct, gc=False):
    """networking.v1.IPBlock."""

    cidr: str = ""
    excepts: list[str] | None = field(name="except", default=None)


class Peer(Struct, gc=False):
    """networking.v1.NetworkPolicyPeer."""

    pods: Selector | None = field(name="podSelector", default=None)
    namespaces: Selector | None = field(name="namespaceSelector", default=None)
    block: Block | None = field(name="ipBlock", default=None)


class PolicyPort(Struct, gc=False):
    """networking.v1.NetworkPolicyPort."""

    protocol: str | None = None
    port: int | str | None = None
    end: int | None = field(name="endPort", default=None)


class Rule(Struct, gc=False):
    """networking.v1.NetworkPolicyIngressRule and NetworkPolicyEgressRule: each has one of `sources` and `targets`."""

    sources: list[Peer] | None = field(name="from", default=None)
    targets: list[Peer] | None = field(name="to", default=None)
    ports: list[PolicyPort] | None = None


class PolicySpec(Struct, gc=False):
    """networking.v1.NetworkPolicySpec."""

    pods: Selector | None = field(name="podSelector", default=None)
    types: list[str] | None = field(name="policyTypes", default=None)
    ingress: list[Rule] | None = None
    egress: list[Rule] | None = None


class Policy(Struct, gc=False):
    """networking.v1.NetworkPolicy."""

    meta: Meta = field(name="metadata", default_factory=Meta)
    spec: PolicySpec | None = None


class Bare(Struct, gc=False):
    """What every object has: all that is left of one whose other fields have types that no API gives."""

    meta: Meta = field(name="metadata", default_factory=Meta)


class ListMeta(Struct, gc=False):
    """metav1.ListMeta."""

    version: str = field(name="resourceVersion", default="")
    more: str = field(name="continue", default="")


class Page(Struct, Generic[Item], gc=False):
    """A page of a list."""

    meta: ListMeta = field(name="metadata", default_factory=ListMeta)
    items: list[Item] | None = None


class RawPage(Struct, gc=False):
    """A page whose objects are decoded one by one, because one of them is odd."""

    meta: ListMeta = field(name="metadata", default_factory=ListMeta)
    items: list[Raw] | None = None


class WatchEvent(Struct, gc=False):
    """metav1.WatchEvent: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: Raw


class BookmarkMeta(Struct, gc=False):
    """Metadata of a bookmark."""

    version: str = field(name="resourceVersion", default="")
    annotations: dict[str, str] | None = None


class Bookmark(Struct, gc=False):
    """The object of a BOOKMARK."""

    meta: BookmarkMeta = field(name="metadata", default_factory=BookmarkMeta)


class Details(Struct, gc=False):
    """metav1.StatusDetails."""

    retry_after: int | None = field(name="retryAfterSeconds", default=None)


class Status(Struct, gc=False):
    """metav1.Status: what the API says instead of an answer."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None
