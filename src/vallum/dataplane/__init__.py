"""A Ruleset made real. One folder a plane; this file holds the interface and names the planes by string."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, Protocol, TypeVar

from vallum.model.attachment import LocalNode
from vallum.policy.classify import Tables
from vallum.policy.ruleset import Feature, Ruleset, Way

Program = TypeVar("Program")


@dataclass(frozen=True, slots=True)
class Meddling:
    """Somebody else changed what is ours, or (`by` empty) events were lost: a reason to read back."""

    by: str
    what: str


@dataclass(frozen=True, slots=True)
class Denial:
    """A packet that a plane dropped, from its IP header on. `reply`: judged as the answer of a flow;
    `spoofed`: dropped for its source address alone; `unknown`: for an address that no living pod is known to have.
    """

    way: Way
    reply: bool
    packet: bytes
    spoofed: bool = False
    unknown: bool = False


Reported_co = TypeVar("Reported_co", covariant=True)


class Reports(Protocol, Generic[Reported_co]):
    """Something to wait on with `loop.add_reader` and to empty."""

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        ...

    def drain(self) -> Sequence[Reported_co]:
        """Everything that is queued."""
        ...


class Denials(Reports[Denial], Protocol):
    """Denials as they happen."""

    @property
    def lost(self) -> int:
        """How often the kernel had no room for more records. What is lost is still dropped and counted there."""
        ...


class DataPlane(Protocol, Generic[Program]):
    """What every plane does. `render` is pure; `apply`, `read` and `clear` block and run in one worker thread.

    Made with one argument: the bits of the conntrack mark that it may use.
    """

    name: str
    supports: frozenset[Feature]

    def render(self, ruleset: Ruleset, tables: Tables, node: LocalNode) -> Program:
        """The Ruleset in this plane's terms. Raises InputError for a rule beyond `supports`."""
        ...

    def apply(self, program: Program) -> None:
        """Make the kernel hold exactly this, at one instant, sending only the difference. Repeatable.

        Raises KernelError; the last good program then still stands.
        """
        ...

    def read(self) -> Program | None:
        """What the kernel holds now, None if nothing of ours. Raises KernelError."""
        ...

    def confirm(self, program: Program) -> bool:
        """Whether what the last `apply` brought is read to be in the kernel. A plane that must reads everything."""
        ...

    def drifted(self) -> bool:
        """Whether links no longer have what the last program asked of them: a quick look, when a link has changed."""
        ...

    def tidy(self) -> None:
        """Remove what an `apply` left because packets under way may still be in it. It changes nothing else, and waits
        for them; `read` does it before. Raises KernelError.
        """
        ...

    def clear(self) -> None:
        """Remove everything of ours and nothing else."""
        ...

    def events(self) -> Reports[Meddling] | None:
        """Changes of what is ours by others, None for a plane that cannot tell. Own changes are left out."""
        ...

    def denials(self) -> Denials | None:
        """Dropped packets as they happen, None for a plane that does not record them."""
        ...


PLANES: dict[str, tuple[str, ...]] = {
    "memory": ("vallum.dataplane.memory.plane:MemoryPlane",),
    "nftables": (
        "vallum.dataplane.nftables.bridged:BridgedSources",
        "vallum.dataplane.nftables.plane:NftablesPlane",
    ),
}
"""Plane name -> the stack of planes applied in order, its namesake last. One more is one folder and one line here."""


def load(name: str) -> tuple[type, ...]:
    """The plane classes of a stack. Raises KeyError for an unknown name."""
    found = []
    for spec in PLANES[name]:
        module, _, attribute = spec.partition(":")
        found.append(getattr(import_module(module), attribute))
    return tuple(found)
