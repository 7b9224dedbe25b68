"""The world as rules ask for it: pods by kind, who matches a selector, which policies isolate whom.

Selectors are evaluated on kinds (pods of one namespace with equal labels), each selector once. Ignores what is
wrong with any of it: that is for the rules.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TypeVar

from vallum.analysis.lint.finding import Path
from vallum.analysis.lint.spelling import Spelling
from vallum.analysis.lint.written import Service, Workload, Written
from vallum.model.address import Packed, pack, span
from vallum.model.objects import Block, Peer, Pod, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, Labels, Operator, Selector
from vallum.model.snapshot import Snapshot
from vallum.policy.ruleset import Way
from vallum.policy.selectors import matches

Spaces = frozenset[str]
NamedPorts = Mapping[str, frozenset[tuple[int, int]]]
T = TypeVar("T")
_WAYS: Mapping[tuple[bool, bool], tuple[Way, ...]] = {
    (False, False): (),
    (True, False): (Way.INGRESS,),
    (False, True): (Way.EGRESS,),
    (True, True): (Way.INGRESS, Way.EGRESS),
}
"""By whether a policy has ingress and egress."""
_PEERS = {Way.INGRESS: "from", Way.EGRESS: "to"}


class Kind:
    """Pods of one namespace with equal labels, and what they have in common for a rule."""

    __slots__ = ("addresses", "families", "labels", "named", "namespace", "pods", "ports")

    def __init__(self, namespace: str, labels: Labels, pods: tuple[Pod, ...]) -> None:
        self.namespace = namespace
        self.labels: Mapping[str, str] = dict(labels)
        self.pods = pods
        self.addresses: tuple[Packed, ...] = tuple(pack(address) for pod in pods for address in pod.addresses)
        self.families = frozenset(address.version for pod in pods for address in pod.addresses)
        every = {(port.name, port.protocol, port.number) for pod in pods for port in pod.ports}
        self.ports = frozenset((protocol, number) for _, protocol, number in every)
        self.named: NamedPorts = {
            name: frozenset((protocol, number) for other, protocol, number in every if other == name)
            for name in {name for name, _, _ in every if name}
        }

    def __str__(self) -> str:
        more = f" and {len(self.pods) - 1} like it" if len(self.pods) > 1 else ""
        return f"{self.pods[0].id}{more}"


class Population:
    """Kinds of pods, found by selector."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        grouped: dict[tuple[str, Labels], list[Pod]] = {}
        for pod in pods:
            grouped.setdefault((pod.id.namespace, pod.labels), []).append(pod)
        self.kinds = tuple(Kind(space, labels, tuple(found)) for (space, labels), found in sorted(grouped.items()))
        self.by_space: dict[str, list[Kind]] = {}
        self._holding: dict[tuple[str, str], list[Kind]] = {}
        for kind in self.kinds:
            self.by_space.setdefault(kind.namespace, []).append(kind)
            for item in kind.labels.items():
                self._holding.setdefault(item, []).append(kind)

    def of(self, selector: Selector, spaces: Spaces) -> tuple[Kind, ...]:
        """The kinds in these namespaces that the selector matches."""
        candidates = self._candidates(selector, spaces)
        return tuple(kind for kind in candidates if kind.namespace in spaces and matches(selector, kind.labels))

    def _candidates(self, selector: Selector, spaces: Spaces) -> Iterable[Kind]:
        """Those of the one namespace, or those with the selector's rarest label."""
        if len(spaces) == 1:
            return self.by_space.get(next(iter(spaces)), ())
        found = _rarest(selector, self._holding)
        return self.kinds if found is None else found


def _rarest(selector: Selector, holding: Mapping[tuple[str, str], list[T]]) -> list[T] | None:
    """Those with the label that is rarest among those that the selector asks for; None if it asks for none."""
    anchors = [
        [one for value in requirement.values for one in holding.get((requirement.key, value), ())]
        for requirement in selector.requirements
        if requirement.operator is Operator.IN
    ]
    return min(anchors, key=len) if anchors else None


class Vocabulary:
    """Which label keys and values exist among some objects, and which known one was likely meant."""

    def __init__(self, labelled: Iterable[Mapping[str, str]]) -> None:
        self.values: dict[str, set[str]] = {}
        for labels in labelled:
            for key, value in labels.items():
                self.values.setdefault(key, set()).add(value)
        self._spellings: dict[str, Spelling] = {}

    @cached_property
    def keys(self) -> Spelling:
        """The spelling of the keys."""
        return Spelling(self.values)

    def values_of(self, key: str) -> Spelling:
        """The spelling of a key's values."""
        if key not in self._spellings:
            self._spellings[key] = Spelling(self.values.get(key, ()))
        return self._spellings[key]


class Facts:
    """Everything that rules ask about one world."""

    def __init__(self, snapshot: Snapshot, written: Written) -> None:
        self.snapshot = snapshot
        self.written = written
        self.policies = [policy for _, policy in sorted(snapshot.policies.items())]
        pods = [pod for _, pod in sorted(snapshot.pods.items())]
        self.living = Population(pod for pod in pods if not pod.finished and not pod.host_network)
        self.host = Population(pod for pod in pods if not pod.finished and pod.host_network)
        self.finished = Population(pod for pod in pods if pod.finished)
        self.all_spaces: Spaces = frozenset(snapshot.namespaces) | frozenset(pod.id.namespace for pod in pods)
        self._matched: dict[tuple[Selector, Selector | str], tuple[Kind, ...]] = {}
        self._subjects: dict[PolicyId, tuple[Kind, ...]] = {}
        self._peers: dict[tuple[int, str], tuple[Kind, ...]] = {}
        self._inside: dict[Block, tuple[Kind, ...]] = {}
        self._spaces: dict[Selector, Spaces] = {}
        self._space_labels = {space.name: dict(space.labels) for space in snapshot.namespaces.values()}
        self._space_holding: dict[tuple[str, str], list[str]] = {}
        for space in snapshot.namespaces.values():
            for label in space.labels:
                self._space_holding.setdefault(label, []).append(space.name)
        self._vocabularies: dict[str, Vocabulary] = {}

    def subjects(self, policy: Policy) -> tuple[Kind, ...]:
        """The kinds that a policy selects."""
        if policy.id not in self._subjects:
            self._subjects[policy.id] = self.living.of(policy.pods, frozenset({policy.id.namespace}))
        return self._subjects[policy.id]

    def peers(self, peer: Peer, namespace: str) -> tuple[Kind, ...]:
        """The kinds that a peer of the world selects for a policy in this namespace; none for an ipBlock."""
        known = (id(peer), namespace)  # hashing a selector costs more than all that is done with the answer
        if known not in self._peers:
            self._peers[known] = self._match(peer, namespace)
        return self._peers[known]

    def _match(self, peer: Peer, namespace: str) -> tuple[Kind, ...]:
        if peer.pods is None and peer.namespaces is None:
            return ()
        pods, where = peer.pods or EVERYTHING, namespace if peer.namespaces is None else peer.namespaces
        found = self._matched.get((pods, where))
        if found is None:
            spaces = self.spaces(where) if isinstance(where, Selector) else frozenset({where})
            found = self._matched[pods, where] = self.living.of(pods, spaces)
        return found

    def spaces(self, selector: Selector) -> Spaces:
        """The namespaces that a selector matches."""
        found = self._spaces.get(selector)
        if found is None:
            names = _rarest(selector, self._space_holding)
            candidates = self._space_labels if names is None else names
            matched = (name for name in candidates if matches(selector, self._space_labels[name]))
            found = self._spaces[selector] = frozenset(matched)
        return found

    def vocabulary(self, spaces: Spaces) -> Vocabulary:
        """The labels of pods in these namespaces; for more than one namespace, of all pods."""
        scope = next(iter(spaces)) if len(spaces) == 1 else ""
        if scope not in self._vocabularies:
            kinds = self.living.by_space.get(scope, []) if scope else self.living.kinds
            self._vocabularies[scope] = Vocabulary(kind.labels for kind in kinds)
        return self._vocabularies[scope]

    @cached_property
    def space_vocabulary(self) -> Vocabulary:
        """The labels of namespaces."""
        return Vocabulary(self._space_labels.values())

    @cached_property
    def isolating(self) -> Mapping[tuple[Kind, Way], list[Policy]]:
        """The policies that isolate a kind in a direction, by id."""
        found: dict[tuple[Kind, Way], list[Policy]] = {}
        for policy in self.policies:
            for way in ways(policy):
                for kind in self.subjects(policy):
                    found.setdefault((kind, way), []).append(policy)
        return found

    @cached_property
    def owned(self) -> list[tuple[Packed, Kind]]:
        """The addresses of living pods, sorted."""
        return sorted(
            ((address, kind) for kind in self.living.kinds for address in kind.addresses), key=lambda pair: pair[0]
        )

    @cached_property
    def services(self) -> Mapping[str, list[Service]]:
        """Services by namespace."""
        found: dict[str, list[Service]] = {}
        for service in self.written.services:
            found.setdefault(service.id.namespace, []).append(service)
        return found

    @cached_property
    def workloads(self) -> Mapping[str, list[Workload]]:
        """Workloads by namespace."""
        found: dict[str, list[Workload]] = {}
        for workload in self.written.workloads:
            found.setdefault(workload.id.namespace, []).append(workload)
        return found

    def inside(self, block: Block) -> tuple[Kind, ...]:
        """The kinds with an address in a block, its exceptions left out."""
        if block not in self._inside:
            self._inside[block] = tuple(dict.fromkeys(self._owners_in(block)))
        return self._inside[block]

    def _owners_in(self, block: Block) -> Iterator[Kind]:
        first, last = span(block.network)
        cut = [span(network) for network in block.excepts]
        for index in range(bisect_left(self.owned, first, key=lambda pair: pair[0]), len(self.owned)):
            address, kind = self.owned[index]
            if address > last:
                return
            if not any(low <= address <= high for low, high in cut):
                yield kind


def ways(policy: Policy) -> tuple[Way, ...]:
    """The directions in which a policy isolates."""
    return _WAYS[policy.ingress is not None, policy.egress is not None]


def rules_of(policy: Policy, way: Way) -> tuple[PolicyRule, ...] | None:
    """The rules of one direction; None where the policy does not isolate it."""
    return policy.ingress if way is Way.INGRESS else policy.egress


def each_rule(policy: Policy) -> Iterator[tuple[Way, Path, PolicyRule]]:
    """Every rule with its direction and path."""
    for way in ways(policy):
        for index, rule in enumerate(rules_of(policy, way) or ()):
            yield way, ("spec", str(way), index), rule


def each_peer(way: Way, path: Path, rule: PolicyRule) -> Iterator[tuple[Path, Peer]]:
    """Every peer of a rule with its path."""
    for index, peer in enumerate(rule.peers or ()):
        yield (*path, _PEERS[way], index), peer


def each_port(path: Path, rule: PolicyRule) -> Iterator[tuple[Path, PolicyPort]]:
    """Every port entry of a rule with its path."""
    for index, port in enumerate(rule.ports or ()):
        yield (*path, "ports", index), port


def some(items: Collection[object], show: Callable[[object], str] = str) -> str:
    """The first of several by name: `a`, `a and b`, or `a, b and 3 more`."""
    names = [show(item) for item in islice(items, 2)]
    return " and ".join(names) if len(items) <= 2 else f"{', '.join(names)} and {len(items) - 2} more"
