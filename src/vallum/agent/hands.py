"""The agent's hold on the kernel: its planes, its back end, its node's links. Used by the worker thread only."""

from dataclasses import dataclass, field
from typing import Any

from vallum import dataplane, network
from vallum.agent.settings import Settings
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import SyncReport, sync
from vallum.model.attachment import Attachment, LocalNode
from vallum.model.errors import KernelError
from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Route, Wiring
from vallum.policy.ruleset import Ruleset


@dataclass(slots=True)
class Hands:
    """What a reconcile acts through. `given`: the program each plane was last given and shown to hold."""

    planes: tuple[Any, ...]
    backend: network.Backend | None
    links: Rtnetlink
    standing: frozenset[Route] = frozenset()
    given: dict[str, Any] = field(default_factory=dict)
    ready: frozenset[Attachment] = frozenset()

    @classmethod
    def open(cls, settings: Settings) -> "Hands":
        """Raises InputError where a library or privilege is missing, KernelError where the kernel refuses."""
        planes = tuple(plane(settings.mark_mask) for plane in dataplane.load(settings.plane))
        backend = None if settings.backend == "none" else network.load(settings.backend)
        return cls(planes, backend, Rtnetlink())

    def local_node(self, ruleset: Ruleset) -> LocalNode:
        """Local pods with the link that the kernel routes their address to, and the node's own addresses."""
        devices = self.links.host_routes()
        attachments = []
        for local in ruleset.locals:
            names = {devices[address] for address in local.addresses if address in devices}
            attachments += [Attachment(local.pod, name, local.addresses) for name in sorted(names)]
        return LocalNode(ruleset.node or "", tuple(attachments), self.links.local_addresses())

    def differs(self, plane: Any) -> bool:
        """Reports whether the kernel holds something else than this plane was last given."""
        return plane.name in self.given and plane.read() != self.given[plane.name]

    def accept(self, plane: Any, ruleset: Ruleset) -> None:
        """Raises KernelError for what this plane cannot express: refused by name, never silently weakened."""
        missing = ruleset.features() - plane.supports
        if missing:
            names = ", ".join(sorted(missing))
            raise KernelError(
                f"plane {plane.name} cannot express {names}; the last good rules stay, choose another plane"
            )

    def is_new(self, local: LocalNode) -> bool:
        """Reports whether a pod is attached whose rules have not been read back yet (stance 17)."""
        return not frozenset(local.attachments) <= self.ready

    def put(self, plane: Any, program: Any, *, verify: bool) -> bool:
        """Apply, and where asked read back and compare. Reports whether somebody changed it meanwhile.

        Raises KernelError when the kernel will not hold it; `given` then still tells what stood before.
        """
        if self.given.get(plane.name) != program or verify:
            plane.apply(program)
        changed = verify and plane.read() != program
        if changed:
            plane.apply(program)
            if plane.read() != program:
                raise KernelError(f"{plane.name}: the kernel does not hold what was sent; it will be sent again")
        self.given[plane.name] = program
        return changed

    def settled(self, local: LocalNode) -> None:
        """All planes hold the rules of these pods: their links may go up."""
        self.ready = frozenset(local.attachments)

    def plan(self, snapshot: Snapshot, node: str) -> Wiring:
        """The back end's wish; nothing where there is no back end."""
        return self.backend(snapshot, node) if self.backend else Wiring()

    def sync(self, wiring: Wiring) -> SyncReport:
        """Bring links and routes to the wish; what stood after the last time tells drift from news."""
        report = sync(wiring, self.standing)
        self.standing = report.standing
        return report
