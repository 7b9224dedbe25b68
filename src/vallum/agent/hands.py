"""The agent's hold on the kernel: its planes, its roads, its node's links. Used by the worker thread only."""

from dataclasses import dataclass, field
from typing import Any

from vallum import dataplane
from vallum.agent.roads import Roads
from vallum.agent.settings import Settings
from vallum.kernel.bridges import Seat, filter_bridges, seats
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import SyncReport
from vallum.model.address import Network, Packed
from vallum.model.attachment import Attachment, LocalNode
from vallum.model.errors import KernelError
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Problem, Wiring
from vallum.policy.ruleset import Ruleset


@dataclass(slots=True)
class Hands:
    """What a reconcile acts through. `given`: the program each plane was last given and shown to hold; `moved`: links,
    routes or addresses may be other ones than at the last look; `shifted`: not only those of single pods; `routing`: it
    is known which ranges are whose.
    """

    planes: tuple[Any, ...]
    roads: Roads
    links: Rtnetlink
    given: dict[str, Any] = field(default_factory=dict)
    ready: frozenset[Attachment] = frozenset()
    moved: bool = True
    shifted: bool = True
    routing: bool = True
    _looked: bool = True
    _surveyed: bool = True
    _devices: dict[Packed, str] = field(default_factory=dict)
    _own: frozenset[Packed] = frozenset()

    @classmethod
    def open(cls, settings: Settings) -> "Hands":
        """Raises InputError where a library or privilege is missing, KernelError where the kernel refuses."""
        planes = tuple(plane(settings.mark_mask) for plane in dataplane.load(settings.plane))
        return cls(planes, Roads(settings), Rtnetlink())

    def local_node(self, ruleset: Ruleset, closed: tuple[Network, ...]) -> LocalNode:
        """Local pods with the link that the kernel routes their address to, and the node's own addresses."""
        self._looked, self.moved = self.moved, False  # before the look: what moves during it is looked at again
        self._surveyed, self.shifted = self.shifted, False
        if self._looked:
            self._devices, self._own = self.links.host_routes(), self.links.local_addresses()
        devices = self._devices
        elsewhere = [one for local in ruleset.locals for one in local.addresses if one not in devices]
        found = {address: Seat(device) for address, device in devices.items()}
        found |= seats(self.links, elsewhere) if elsewhere else {}
        attachments = []
        for local in ruleset.locals:
            places = {found[address] for address in local.addresses if address in found}
            attachments += [
                Attachment(local.pod, place.device, local.addresses, place.bridged, place.port)
                for place in sorted(places)
            ]
        return LocalNode(ruleset.node or "", tuple(attachments), self._own, closed)

    def differs(self, plane: Any, *, doubt: bool) -> bool:
        """Reports whether the kernel holds something else than this plane was last given. Without `doubt` it is not
        read: where links have moved, what the plane asks of them is looked at alone.
        """
        if plane.name not in self.given or not (doubt or self._looked):
            return False
        found: bool = plane.read() != self.given[plane.name] if doubt else plane.drifted()
        return found

    def accept(self, plane: Any, ruleset: Ruleset) -> None:
        """Raises KernelError for what this plane cannot express: refused by name, never silently weakened."""
        missing = ruleset.features() - plane.supports
        if missing:
            names = ", ".join(sorted(missing))
            raise KernelError(
                f"plane {plane.name} cannot express {names}; the last good rules stay, choose another plane"
            )

    def is_unproven(self, plane: Any, program: Any, local: LocalNode) -> bool:
        """Reports whether rules of a newly attached pod are in this program and not read back yet (stance 17)."""
        is_new = not frozenset(local.attachments) <= self.ready
        return is_new and self.given.get(plane.name, plane) != program

    def put(self, plane: Any, program: Any, *, verify: bool, confirm: bool, again: bool) -> bool:
        """Apply what is new (or all of it `again`), and where asked read back and compare: all of it to `verify`, to
        `confirm` what this brought. Reports whether somebody changed it meanwhile.

        Raises KernelError when the kernel will not hold it; `given` then still tells what stood before.
        """
        if self.given.get(plane.name) != program or verify or confirm or again:
            plane.apply(program)
        changed = (verify and plane.read() != program) or (confirm and not verify and not plane.confirm(program))
        if changed:
            plane.apply(program)
            if plane.read() != program:
                raise KernelError(f"{plane.name}: the kernel does not hold what was sent; it will be sent again")
        self.given[plane.name] = program
        return changed

    def shortcomings(self, local: LocalNode) -> tuple[Problem, ...]:
        """What keeps packets of these pods from being judged here, after trying to mend it."""
        bridges = sorted({each.interface for each in local.attachments if each.bridged})
        try:
            if bridges:
                filter_bridges()
        except KernelError as error:
            cure = "load it (modprobe br_netfilter) and set net.bridge.bridge-nf-call-iptables and -ip6tables to 1"
            text = f"pods on it can reach each other past every policy, since br_netfilter is off ({error}); {cure}"
            return tuple(Problem(f"bridge {name}", text) for name in bridges)
        return ()

    def tidy(self) -> None:
        """Remove what the last changes left in the kernel because packets under way might still need it.

        Raises KernelError.
        """
        for plane in self.planes:
            plane.tidy()

    def settled(self, local: LocalNode) -> None:
        """All planes hold the rules of these pods: their links may go up."""
        self.ready = frozenset(local.attachments)

    def plan(self, snapshot: Snapshot, node: str) -> Wiring:
        """The back ends' wish; nothing where there is none. Raises KernelError."""
        return self.roads.plan(snapshot, node, looked=self._surveyed)

    def sync(self, wiring: Wiring, *, doubt: bool = False) -> SyncReport:
        """See `Roads.sync`. Before it is known what to wish, what stands stays."""
        if not self.routing:
            return self.roads.standing()
        return self.roads.sync(wiring, looked=self._surveyed, doubt=doubt)
