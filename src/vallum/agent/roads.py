"""The agent's hold on what connects its node with others: the ground, the plan, devices, entries and routes, and the
gate that knows what may come out of a tunnel. Used by the worker thread only.

What it ignores: which back end does what (`network.roads`), and when to look (`reconcile`).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from vallum.agent.settings import Settings
from vallum.dataplane.nftables.reports import TableEvents
from vallum.ipam.choose import spare
from vallum.kernel import ground
from vallum.kernel.gate import TABLE, Gate
from vallum.kernel.sync import SyncReport, sync
from vallum.model.address import Address
from vallum.model.ground import Ground
from vallum.model.objects import Node, Pool
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Wiring
from vallum.network import roads
from vallum.network.ends import reached
from vallum.network.options import Options


@dataclass(frozen=True, slots=True)
class _Told:
    """What a plan was made from, beside the ground."""

    nodes: Mapping[str, Node]
    pools: Mapping[str, Pool]
    sources: tuple[Address, ...] | None

    def is_(self, other: "_Told | None") -> bool:
        """Reports whether nothing has changed. A mapping of a snapshot is never changed, it is another one then."""
        same = other is not None and self.nodes is other.nodes and self.pools is other.pools
        return same and other is not None and self.sources == other.sources


@dataclass(slots=True)
class Roads:
    """Remembers what it planned from, so that nothing is planned, read or sent twice for the same.

    Attributes:
        sources: addresses that the node has for itself among those of its pods; None: those that its ranges spare.
        gate: drops what comes out of a tunnel and should not, and masquerades.
        mended: what others had made of the gate before the last sync, in words.
    """

    settings: Settings
    sources: tuple[Address, ...] | None = None
    gate: Gate = field(default_factory=Gate)
    mended: tuple[str, ...] = ()
    _told: _Told | None = None
    _asked: AbstractSet[Address] = frozenset()
    _ground: Ground = field(default_factory=Ground)
    _plan: Wiring = field(default_factory=Wiring)
    _wish: Wiring | None = None
    _synced: SyncReport = field(default_factory=SyncReport)

    def plan(self, snapshot: Snapshot, node: str, *, looked: bool) -> Wiring:
        """What the back ends wish; nothing where there is none. `looked`: links may be others than the last time.

        Raises KernelError where the kernel does not tell the ways to other nodes.
        """
        if self.settings.backend == "none":
            return Wiring()
        told = _Told(snapshot.nodes, snapshot.pools, self.sources)
        same = told.is_(self._told)
        if same and not looked:
            return self._plan
        found = self._look(snapshot, node, looked=looked)
        if not same or found != self._ground:
            defaults = self.settings.travel.defaults(self.settings.backend)
            self._plan = roads.plan(snapshot, node, defaults, self._options(snapshot.nodes.get(node), found))
        self._told, self._ground = told, found
        return self._plan

    def _look(self, snapshot: Snapshot, node: str, *, looked: bool) -> Ground:
        """The ways to all others; where no link has moved, only those to addresses that are new are asked for."""
        others = [reached(each) for name, each in snapshot.nodes.items() if name != node]
        wanted = dict.fromkeys(address for each in others for address in each.addresses)
        if looked or self._told is None:
            found = ground.look(wanted)
        else:
            new = ground.look(wanted.keys() - self._asked)
            kept = {address: hop for address, hop in self._ground.hops.items() if address in wanted}
            hops = kept | dict(new.hops)
            found = replace(self._ground, hops=hops, mtu=min((hop.mtu for hop in hops.values()), default=new.mtu))
        self._asked = wanted.keys()
        if "ipip" in {self.settings.backend, *(pool.backend for pool in snapshot.pools.values())}:
            name, why = _ipip()
            found = replace(found, ipip=name, no_ipip=why)
        return found

    def sync(self, wiring: Wiring, *, looked: bool, doubt: bool) -> SyncReport:
        """Bring the kernel to the wish.

        Where neither the wish nor a link or route has changed since the last time, nothing is read. The gate comes
        first: nothing gets in by a device before it is known what may.

        Raises KernelError.
        """
        self.mended = self.gate.apply(wiring, doubt=doubt)
        if looked or wiring != self._wish:
            moved, self._wish = looked or self._wish is None, None  # after an error nothing is taken for granted
            self._synced = sync(wiring, self._synced.standing, moved=moved)
            self._wish = wiring
        else:
            self._synced = SyncReport(self._synced.standing, problems=self._synced.problems)
        return self._synced

    def events(self) -> TableEvents | None:
        """Changes of the gate by others; None where there is none."""
        return None if self.settings.backend == "none" else TableEvents(self.gate.portids, TABLE)

    def standing(self) -> SyncReport:
        """What was done the last time, before it is known what to wish: what stands stays."""
        return self._synced

    def _options(self, own: Node | None, found: Ground) -> Options:
        # blocks of a group are handed out whole
        spared = [spare(each) for each in own.pod_ranges] if own is not None and not own.groups else []
        mine = spared if self.sources is None else self.sources
        families = (next((each for each in mine if each and each.version == family), None) for family in (4, 6))
        return self.settings.travel.options(found, tuple(each for each in families if each))


def _ipip() -> tuple[str, str]:
    """What this kernel can run of ipip; to find out may load a module, so only who wants it asks."""
    from vallum.kernel.ipip import driver  # noqa: PLC0415 - it loads libraries that others need not have

    return driver()
