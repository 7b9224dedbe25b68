"""A plane that keeps its program in memory. Where a packet goes is asked with `passes`, as a fake switch is asked."""

from dataclasses import dataclass

from vallum.dataplane import Denials, Meddling, Reports
from vallum.model.attachment import LocalNode
from vallum.model.packet import Packet
from vallum.policy.classify import Tables
from vallum.policy.judge import judge
from vallum.policy.ruleset import Feature, Ruleset


@dataclass(frozen=True, slots=True)
class MemoryProgram:
    """The Ruleset as it came, and the links that it protects."""

    ruleset: Ruleset
    node: LocalNode


class MemoryPlane:
    """See `dataplane.DataPlane`."""

    name = "memory"
    supports = frozenset(Feature)

    def __init__(self, mark_mask: int = 0) -> None:  # noqa: ARG002 - there is no conntrack here
        self._program: MemoryProgram | None = None

    def render(self, ruleset: Ruleset, tables: Tables, node: LocalNode) -> MemoryProgram:  # noqa: ARG002
        """The program is the Ruleset; Tables are for planes that look things up."""
        return MemoryProgram(ruleset, node)

    def apply(self, program: MemoryProgram) -> None:
        """Hold this from now on."""
        self._program = program

    def read(self) -> MemoryProgram | None:
        """What is held."""
        return self._program

    def confirm(self, program: MemoryProgram) -> bool:
        """It is read as a whole."""
        return self.read() == program

    def drifted(self) -> bool:
        """It asks nothing of links."""
        return False

    def tidy(self) -> None:
        """Nothing is left."""

    def clear(self) -> None:
        """Hold nothing: everything passes."""
        self._program = None

    def events(self) -> Reports[Meddling] | None:
        """Nobody else can change it."""
        return None

    def denials(self) -> Denials | None:
        """`passes` answers instead."""
        return None

    def passes(self, packet: Packet) -> bool:
        """Reports whether a packet would get through this node."""
        return self._program is None or judge(self._program.ruleset, packet).allow
