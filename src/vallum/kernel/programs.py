"""Ipip by programs as a part of a sync: its device before what stands on it, and no way closed that is still in use.

A range that leaves the tunnel keeps its way until its route leads elsewhere, so that the maps are written twice. What
it ignores: how programs are loaded and compared (`ipip`), which is not even imported where nobody wants it.
"""

from dataclasses import dataclass, field, replace

from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.wiring import DEVICE_PREFIX, Ipip, Problem, Wiring


@dataclass(slots=True)
class Programs:
    """One sync of them. `before`: the wish of the last one."""

    netlink: Rtnetlink
    wiring: Wiring
    before: Wiring
    changed: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def stand(self, *, read: bool) -> None:
        """What is wanted, beside what was. Without `read` nothing moved since the last time."""
        if not _wants(self.wiring):
            return
        wiring, gone = self.wiring, self.before.carried - self.wiring.carried
        if gone:  # seldom; the sets are large
            kept = {one.inner for one in wiring.carried}
            carried = wiring.carried | {one for one in gone if one.inner not in kept}
            wiring = replace(wiring, carried=carried, origins=wiring.origins | self.before.origins)
        self._sync(wiring, read)

    def settle(self, *, read: bool) -> None:
        """What is wanted and no more, once no route needs it. With `read` also what an earlier life left."""
        if _wants(self.wiring):
            wiring, wish = self.wiring, self.before
            if not (wish.carried <= wiring.carried and wish.origins <= wiring.origins):
                self._sync(wiring, read=False)
        elif _wants(self.before) or (read and self._left()):
            self._sync(self.wiring, read=True)

    def _left(self) -> bool:
        """Links of ours that are no tunnels are pairs."""
        return any(link.name.startswith(DEVICE_PREFIX) and link.peer for link in self.netlink.links())

    def _sync(self, wiring: Wiring, read: bool) -> None:
        from vallum.kernel.ipip import sync_bpf  # noqa: PLC0415 - loading programs takes libraries that few need

        report = sync_bpf(self.netlink, wiring, read=read)
        self.changed += report.changed
        self.drift += report.drift
        self.problems += [each for each in report.problems if each not in self.problems]


def _wants(wiring: Wiring) -> bool:
    return any(isinstance(device, Ipip) and device.driver == "bpf" for device in wiring.devices)
