"""What manifests say that the Snapshot does not keep, reduced to what rules ask for.

A live node has no manifests: then all of it is empty, and rules that need it find nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vallum.model.address import Address
from vallum.model.objects import ObjectId, PolicyId
from vallum.model.selector import Labels, Selector
from vallum.model.snapshot import Key


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service and the port of the pods behind it."""

    protocol: int
    port: int
    target: int | str


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. `pods` None: it selects none by itself."""

    id: ObjectId
    pods: Selector | None
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[Address, ...] = ()

    @property
    def key(self) -> Key:
        """The key of its document."""
        return ("Service", self.id.namespace, self.id.name)


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: its own labels, what it selects (None: not stated), and the labels of its template."""

    id: ObjectId
    kind: str
    labels: Labels
    selector: Selector | None
    template: Labels

    @property
    def key(self) -> Key:
        """The key of its document, which stands for a pod."""
        return ("Pod", self.id.namespace, self.id.name)


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy as it was written: policyTypes (None: missing), directions that have rules, whether the API is old."""

    types: tuple[str, ...] | None = None
    with_rules: frozenset[str] = frozenset()
    old: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What the manifests of a world say beyond its objects."""

    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    declared: frozenset[str] = frozenset()
    policies: Mapping[PolicyId, PolicyText] = field(default_factory=dict)
    annotated: tuple[tuple[str, str], ...] = ()
    """Namespaces with the isolating annotation of 2016, and its key."""
