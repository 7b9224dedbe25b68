"""A world as questions see it: who has an address, which policies a namespace has, and what decides about two ends.

A question names two ends, so it needs only what these ends are subject to: `about` cuts that out of a world of any
size, for the real compiler to compile. This plain form makes its indexes when they are first needed and keeps them as
long as it lives; whoever keeps them up to date across worlds offers the same methods.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from vallum.model.address import Packed, pack
from vallum.model.objects import Pod, PodId, Policy, PolicyId
from vallum.model.snapshot import Snapshot
from vallum.model.spaces import Spaces
from vallum.policy.index import Index, People


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

    def about(self, source: PodId | None, target: PodId | None, others: Iterable[PodId]) -> Snapshot:
        """The part of the world that decides about packets from one pod to another; None: an end that is no pod.

        Policies stand in it with the direction that they decide. `others` are there, without policies.
        """
        whole = self.snapshot
        wanted = {id_ for id_ in (source, target, *others) if id_ and id_ in whole.pods}
        addresses = [address for id_ in wanted for address in whole.pods[id_].addresses]
        wanted |= {rival for address in addresses if (rival := self.owner(pack(address)))}
        kept = Spaces[PodId, Pod].of(whole.pods[id_] for id_ in sorted(wanted))
        spaces = sorted({id_.namespace for id_ in kept})
        nodes = sorted({pod.node for pod in kept.values() if pod.node in whole.nodes and pod.node is not None})
        namespaces = {name: whole.namespaces[name] for name in spaces if name in whole.namespaces}
        nodes_here = {name: whole.nodes[name] for name in nodes}
        return Snapshot(namespaces, nodes_here, kept, self._deciding(source, target), whole.revision)

    def _deciding(self, source: PodId | None, target: PodId | None) -> Spaces[PolicyId, Policy]:
        """What may isolate the one for egress, and the other for ingress."""
        leaving = self.policies_in(source.namespace) if source else ()
        coming = self.policies_in(target.namespace) if target else ()
        if source and target and source.namespace == target.namespace:
            return Spaces.of(coming)
        return Spaces.of(
            (
                *(Policy(one.id, one.pods, None, one.egress) for one in leaving if one.egress is not None),
                *(Policy(one.id, one.pods, one.ingress, None) for one in coming if one.ingress is not None),
            )
        )

    @cached_property
    def _owners(self) -> Mapping[Packed, Pod]:
        if self._people is not None:
            return self._people.owners
        index = Index(by_names=True)
        index.update((None, pod) for pod in self.snapshot.pods.values())
        return index.people.owners
