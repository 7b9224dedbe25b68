"""The nftables plane's hands: read the table back, send the difference, remove it. Runs in the caller's namespace."""

from dataclasses import replace
from pathlib import Path

from vallum.dataplane.nftables.change import PIECE, Held, brought, change, clashes, held, shows, with_leftovers
from vallum.dataplane.nftables.listing import parse
from vallum.dataplane.nftables.marks import MASK, Marks
from vallum.dataplane.nftables.program import TABLE, Program
from vallum.dataplane.nftables.render import render
from vallum.dataplane.nftables.reports import LoggedDenials, TableEvents
from vallum.kernel import conntrack, libc
from vallum.kernel.nft import Nft, is_absent
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.attachment import LocalNode
from vallum.model.errors import KernelError
from vallum.policy.classify import Tables
from vallum.policy.ruleset import Feature, Ruleset

_PRIVILEGED_PIECE = 20_000
"""Real root may enlarge the socket buffer (SO_SNDBUFFORCE); still bounded, since a transaction holds nft's lock."""


class NftablesPlane:
    """See `dataplane.DataPlane`. Not for use by two threads at once."""

    name = "nftables"
    supports = frozenset({Feature.BLOCKS, Feature.RANGES, Feature.SCTP, Feature.IPV6})

    def __init__(self, mark_mask: int = MASK) -> None:
        self._marks = Marks(mark_mask)
        self._nft = Nft()
        self._links = Rtnetlink()
        self._held: Held | None = None
        self._applied = Program()
        self._left: tuple[str, ...] = ()
        self._known = False
        self._brought: dict[str, tuple[str, dict[str, str]]] | None = None
        self._wanted: frozenset[str] | None = None
        self._loose = True
        self._remembers = _can_remember(self._nft)
        self._piece = _PRIVILEGED_PIECE if _is_real_root() else PIECE

    def render(self, ruleset: Ruleset, tables: Tables, node: LocalNode) -> Program:
        """See `render.render`."""
        return render(ruleset, tables, node, marks=self._remembers)

    def apply(self, program: Program) -> None:
        """Send the difference to what the kernel was last known to hold; read first where that is in doubt."""
        if not self._known:
            self.read()
        if self._held and self._left and clashes(self._held.program, self._applied, program):
            self.tidy()
        before = self._held
        self._known = False
        todo = change(before, program, self._marks, self._piece)
        self._brought = brought(before, program, todo)
        self._sweep(todo.sweep)
        for script in todo.scripts:
            self._nft.run(script)
        flips = before is not None and before.generation != todo.generation
        if flips:
            self._remove(todo.removals)
        if todo.sweep:  # numbers begin again: a flow that sleeps until the same one returns must not keep its mark
            self._sweep(todo.number)
        fresh = program.strict if self._loose else program.strict - (self._wanted or frozenset())
        self._wanted = program.strict
        self._strict(fresh)
        self._loose = False
        self._left = () if flips else todo.removals
        holds = with_leftovers(before.program, program) if before and self._left else program
        self._held, self._known = Held(todo.generation, todo.number, holds, {}, ()), True
        self._applied = program

    def tidy(self) -> None:
        """See `DataPlane.tidy`: chains and sets that nothing leads to any more."""
        if self._left and self._known and self._held is not None:
            removals, self._left, self._known = self._left, (), False
            self._remove(removals)
            self._held, self._known = replace(self._held, program=self._applied), True

    def _remove(self, scripts: tuple[str, ...]) -> None:
        if scripts:
            # a packet that is still in a chain that goes would find it empty, or its maps, and empty may mean allowed
            libc.wait_for_packets()
        for script in scripts:
            self._nft.run(script)

    def read(self) -> Program | None:
        """What the kernel holds, as a program comparable with a rendered one."""
        self.tidy()
        self._known, self._loose, self._left = False, True, ()
        try:
            listing = self._nft.run(f"list table inet {TABLE}")
        except KernelError as error:
            if not is_absent(error):
                raise
            self._held, self._known = None, True
            return None
        listed = parse(listing)
        self._held = held(replace(listed, strict=self._strict_now()), self._marks)
        self._known = True
        return self._held.whole()

    def confirm(self, program: Program) -> bool:
        """Read back the elements that the last `apply` brought, 0.1 ms a set; everything where that proves nothing."""
        if self._brought is None or self._held is None:
            return self.read() == program
        try:
            found = all(
                shows(parse(self._nft.run(command)), name, elements, self._held.generation)
                for name, (command, elements) in self._brought.items()
            )
        except KernelError as error:
            if not is_absent(error):
                raise
            return False
        return found

    def drifted(self) -> bool:
        """Whether the reverse path filter of a link is off that should be strict."""
        found = self._wanted is not None and self._strict_now() != self._wanted
        self._loose |= found
        return found

    def events(self) -> TableEvents:
        """Changes of the table by others."""
        return TableEvents(self._nft.portids)

    def denials(self) -> LoggedDenials:
        """The table's recorded drops. Raises KernelError when another program reads the group."""
        return LoggedDenials()

    def clear(self) -> None:
        """Remove the table. Nothing to remove is fine."""
        self._known, self._left = False, ()
        try:
            self._nft.run(f"delete table inet {TABLE}")
        except KernelError as error:
            if not is_absent(error):
                raise

    def _sweep(self, number: int | None) -> None:
        """Flows that bear another number than this are to be judged anew; None: leave all as they are."""
        if number is not None and self._remembers:
            conntrack.clear_marks(self._marks.mask, number << self._marks.shift)

    def _strict_now(self) -> frozenset[str]:
        """The wanted links that are strict. From one that is gone nothing can be sent, so nothing is missing there."""
        now = self._links.rp_filters()
        if self._wanted is None:  # others may be strict on links of theirs
            return frozenset(name for name, value in now.items() if value == 1)
        return frozenset(name for name in self._wanted if now.get(name, 1) == 1)

    def _strict(self, interfaces: frozenset[str]) -> None:
        now = self._links.rp_filters() if interfaces else {}
        for name in sorted(interfaces):
            if name in now and now[name] != 1:
                self._links.set_rp_filter(name, 1)


def _can_remember(nft: Nft) -> bool:
    """Reports whether this kernel has conntrack marks for nft and for ctnetlink; without, every packet is judged."""
    try:
        nft.check(
            "add table inet vallum-probe\nadd chain inet vallum-probe one\nadd rule inet vallum-probe one ct mark 1"
        )
        conntrack.clear_marks(0)
    except KernelError:
        return False
    return True


def _is_real_root() -> bool:
    """Reports whether uid 0 here is uid 0 of the machine: a user namespace has another map."""
    first = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
    return first[:2] == ["0", "0"]
