"""What one sync does to the kernel, and what came of it: devices made and mended, messages sent, refusals noted.

A refusal is a problem of the thing that was refused, and stops nothing else. What it ignores: what has to be done,
which `differ` says, and in which order, which is `sync`'s.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from vallum.kernel import rtmessages, tunnels
from vallum.kernel.differ import Devices, Thing, name
from vallum.kernel.netlink import CREATE, EXCL, Refusal
from vallum.kernel.offload import Offload, switch
from vallum.kernel.rtmessages import DELLINK, NEWLINK, SETLINK
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.steps import ADD, DELETE, GONE, PUT, Step
from vallum.kernel.tunnels import HeldDevice
from vallum.model.errors import KernelError
from vallum.model.wiring import Device, Problem, Vxlan


@dataclass(slots=True)
class Work:
    """One sync in progress.

    Attributes:
        done: by verb.
        refused: what was to stand and does not.
        shaken: devices that were made or mended, so that what was on them may be gone.
    """

    netlink: Rtnetlink
    done: dict[str, list[Thing | str]] = field(default_factory=lambda: {ADD: [], PUT: [], DELETE: []})
    refused: set[Thing] = field(default_factory=set)
    shaken: set[str] = field(default_factory=set)
    drift: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def stand(self, need: Devices) -> None:
        """The devices as they must be, but for those that go last."""
        self.drift += need.drift
        self.problems += need.problems
        self.refused |= set(need.blocked)
        self.delete(need.cleared)
        made = [Step(ADD, wish, (NEWLINK, tunnels.made(wish), CREATE | EXCL)) for wish in need.made]
        mended = [
            Step(PUT, wish, (NEWLINK, message, 0))
            for wish, index, what in need.changed
            for message in tunnels.changed(wish, index, what)
        ]
        self.carry_out((*made, *mended))
        wrong = [(wish, tunnels.unset(wish)) for wish in need.made]
        wrong += [(wish, what) for wish, _, what in need.changed]
        if wrong:
            self.shaken |= {wish.name for wish, _ in wrong}
            indexes = {link.name: link.index for link in self.netlink.links()}
            for wish, what in wrong:
                if wish.name in indexes:
                    self._set(wish, indexes[wish.name], what)

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Send them all, in this order."""
        steps = tuple(steps)
        for step, answer in zip(steps, self.netlink.many([step.message for step in steps]), strict=True):
            if not isinstance(answer, Refusal) or (step.verb == DELETE and answer.errno in GONE):
                self.done[step.verb].append(step.thing)
                continue
            self.problems.append(Problem(name(step.thing), str(answer.error(step.operation))))
            if step.verb != DELETE:
                self.refused.add(step.thing)

    def delete(self, devices: Collection[HeldDevice]) -> None:
        """Delete devices with all that is on them. One that is gone already is as good."""
        links = [one.link for one in devices]
        answers = self.netlink.many([(DELLINK, rtmessages.link(link.index), 0) for link in links])
        for link, answer in zip(links, answers, strict=True):
            self.done[DELETE].append(f"device {link.name}")
            if isinstance(answer, Refusal) and answer.errno not in GONE:
                error = answer.error(f"delete device {link.name}")
                self.problems.append(Problem(f"device {link.name}", str(error)))

    def _set(self, wish: Device, index: int, what: frozenset[str]) -> None:
        """What the message of a device cannot say."""
        try:
            if tunnels.RP_FILTER in what:
                message = rtmessages.rp_filter(index, tunnels.LOOSE)
                self.netlink.request(f"set rp_filter={tunnels.LOOSE} on {wish.name}", SETLINK, message)
            if tunnels.OFFLOAD in what and isinstance(wish, Vxlan):
                switch(wish.name, Offload.TX_CHECKSUM, on=wish.checksum)
        except KernelError as error:
            self.problems.append(Problem(name(wish), str(error)))
