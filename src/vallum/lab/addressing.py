"""Where a lab's pods get their addresses from: each node has a range of its own, or a ledger gives them by group.

The ledger is a file as an agent has one, so `vallum ipam --ledger` looks into it while the lab is up. What it ignores:
what becomes of a plan (`cluster`).
"""

from pathlib import Path
from typing import Protocol

from vallum.ipam.ledger import Ledger
from vallum.ipam.topology import Layout
from vallum.lab import housing, subnets
from vallum.lab import topology as plans
from vallum.lab.topology import Topology
from vallum.model.address import Address
from vallum.model.objects import Object

_NODES = 2


class Addressing(Protocol):
    """Plans a cluster, and the same cluster for another world. Raises InputErrors; then nothing has changed."""

    def start(self, objects: tuple[Object, ...]) -> Topology:
        """The first plan."""
        ...

    def plan(self, objects: tuple[Object, ...], extra_outside: tuple[Address, ...], before: Topology) -> Topology:
        """The plan that follows `before`; see `topology.plan`."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class ByNode:
    """Each node has a range; all of them are on one link, or in turn in so many subnets."""

    def __init__(self, nodes: int | None, number: int) -> None:
        self._nodes = _NODES if nodes is None else nodes
        self._subnets = number

    def start(self, objects: tuple[Object, ...]) -> Topology:
        """See `Addressing`."""
        empty = subnets.settle(objects, self._nodes, self._subnets) if self._subnets > 1 else None
        return plans.plan(objects, self._nodes, before=empty)

    def plan(self, objects: tuple[Object, ...], extra_outside: tuple[Address, ...], before: Topology) -> Topology:
        """See `Addressing`."""
        return plans.plan(objects, self._nodes, extra_outside, before)

    def close(self) -> None:
        """Nothing is held."""


class ByGroup:
    """Nodes are in groups, each with a link of its own, and a ledger gives addresses out of the groups' ranges.

    Args:
        layout: networks and topologies.
        nodes: see `housing.settle`.
        ledger: the file, which must not be there.
    """

    def __init__(self, layout: Layout, nodes: int | None, ledger: Path) -> None:
        self._layout = layout
        self._nodes = nodes
        self._ledger = Ledger(ledger)

    def start(self, objects: tuple[Object, ...]) -> Topology:
        """See `Addressing`."""
        try:
            empty = self._ledger.commit(lambda state: housing.settle(state, self._layout, objects, self._nodes))
            return self.plan(objects, (), empty)
        except BaseException:
            self.close()
            raise

    def plan(self, objects: tuple[Object, ...], extra_outside: tuple[Address, ...], before: Topology) -> Topology:
        """See `Addressing`."""
        now = self._ledger.now()
        return self._ledger.commit(lambda state: housing.house(state, objects, before, extra_outside, now))

    def close(self) -> None:
        """See `Addressing`."""
        self._ledger.close()
