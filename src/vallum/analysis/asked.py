"""A world as questions see it: who has an address, which policies a namespace has, and the Ruleset of few pods.

A question names two ends, so it needs only what these ends are subject to: `about` cuts that out of a world of any
size, and the real compiler compiles it. This plain form makes its indexes when they are first needed and keeps them as
long as it lives; whoever keeps them up to date across worlds offers the same methods.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from vallum.model.address import Packed, pack
from vallum.model.objects import Pod, PodId, Policy, PolicyId
from vallum.model.snapshot import Snapshot
from vallum.model.spaces import Spaces
from vallum.policy.compile import compile_node
from vallum.policy.index import Index, People
from vallum.policy.ruleset import Ruleset


class Asked:
    """One snapshot to be asked about."""

    def __init__(self, snapshot: Snapshot, people: People | None = None) -> None:
        """`people`: who was there, where the compiler knows it already."""
        self.snapshot = snapshot
        self._people = people

    def owner(self, address: Packed) -> PodId | None:
        """The pod that has this address, if one has it."""
        pod = self._owners.get(address)
        return pod.id if pod else None

    def policies_in(self, namespace: str) -> Collection[Policy]:
        """The policies of a namespace."""
        return self.snapshot.policies.inside(namespace).values()

    def about(self, pods: Iterable[PodId]) -> Snapshot:
        """The part of the world that decides about packets among these pods and addresses that no pod has."""
        whole = self.snapshot
        wanted = {id_ for id_ in pods if id_ in whole.pods}
        addresses = [address for id_ in wanted for address in whole.pods[id_].addresses]
        wanted |= {rival for address in addresses if (rival := self.owner(pack(address)))}
        kept = Spaces[PodId, Pod].of(whole.pods[id_] for id_ in sorted(wanted))
        spaces = sorted({id_.namespace for id_ in kept})
        nodes = sorted({pod.node for pod in kept.values() if pod.node in whole.nodes and pod.node is not None})
        policies = Spaces[PolicyId, Policy].of(policy for name in spaces for policy in self.policies_in(name))
        namespaces = {name: whole.namespaces[name] for name in spaces if name in whole.namespaces}
        return Snapshot(namespaces, {name: whole.nodes[name] for name in nodes}, kept, policies, whole.revision)

    def ruleset_about(self, pods: Iterable[PodId]) -> Ruleset:
        """A Ruleset that judges packets among these pods and addresses that no pod has, as the whole one does."""
        return compile_node(self.about(pods), None)

    @cached_property
    def _owners(self) -> Mapping[Packed, Pod]:
        if self._people is not None:
            return self._people.owners
        index = Index(by_names=True)
        index.update((None, pod) for pod in self.snapshot.pods.values())
        return index.people.owners
