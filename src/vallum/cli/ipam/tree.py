"""The groups of a network as a tree with their use: for people with bars, for programs nested.

It reads a State and decides nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vallum.ipam.records import Network
from vallum.ipam.state import State
from vallum.ipam.topology import Spot
from vallum.ipam.usage import Usage, usage_tree
from vallum.model.address import Network as Cidr

if TYPE_CHECKING:
    from rich.text import Text

_WIDTH = 12
LEGEND = "█ in use   ▓ resting   ▒ reserved or blacked out   ░ free"


@dataclass(frozen=True, slots=True)
class Branch:
    """A group with what is in use of it, how many hosts are in it or below, and the groups below."""

    spot: Spot
    usage: Usage
    hosts: int
    below: "list[Branch]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a drawn tree. `branches`: one, or spare groups side by side."""

    lead: str
    branches: list[Branch]

    @property
    def label(self) -> str:
        """The group, or how many spare ones."""
        if self.branches[0].spot.group.spare:
            return "spare" if len(self.branches) == 1 else f"{len(self.branches)} spare"
        return label(self.branches[0].spot)

    @property
    def span(self) -> str:
        """Its range, or where the ranges of spare groups begin and end."""
        first, last = self.branches[0].spot.cidr, self.branches[-1].spot.cidr
        return str(first) if first == last else f"{first.network_address} to {last.broadcast_address}"


def branches(state: State, network: Network, now: float) -> list[Branch]:
    """The groups of a network from the root."""
    top: list[Branch] = []
    found: dict[tuple[int, ...], Branch] = {}
    for spot, usage, hosts in usage_tree(state, network, now):
        found[spot.path] = Branch(spot, usage, hosts)
        above = found.get(spot.path[:-1])
        (above.below if above else top).append(found[spot.path])
    return top


def lines(level: Sequence[Branch], lead: str = "") -> Iterator[Line]:
    """The tree drawn, parents first; spare groups side by side share a line."""
    runs: list[list[Branch]] = []
    for branch in level:
        if runs and branch.spot.group.spare and runs[-1][0].spot.group.spare:
            runs[-1].append(branch)
        else:
            runs.append([branch])
    for index, run in enumerate(runs):
        last = index == len(runs) - 1
        yield Line(f"{lead}{'└─ ' if last else '├─ '}", run)
        yield from lines(run[0].below, f"{lead}{'   ' if last else '│  '}")


def label(spot: Spot) -> str:
    """What people call a group: its name, what it asks of a host, or its slot."""
    return spot.group.label() or f"slot {spot.path[-1]}"


def way(state: State, network: str, path: tuple[int, ...]) -> str:
    """The groups from the root to this one."""
    spots = state.trees[network].spots
    return " / ".join(label(spots[path[: depth + 1]]) for depth in range(len(path)))


def facts(branch: Branch) -> dict[str, Any]:
    """A branch as data, with all below it."""
    group = branch.spot.group
    return {
        "group": "" if group.spare else label(branch.spot),
        "cidr": str(branch.spot.cidr),
        "assignment": dict(group.assignment),
        "spare": group.spare,
        "hosts": branch.hosts,
        **usage_facts(branch.usage),
        "groups": [facts(each) for each in branch.below],
    }


def usage_facts(usage: Usage) -> dict[str, int]:
    """Use as data."""
    return asdict(usage) | {"free": usage.free}


def total(level: Sequence[Branch], cidr: Cidr) -> Usage:
    """The use of a whole network, from that of its first groups."""
    parts = [branch.usage for branch in level]
    sums = [sum(getattr(part, name) for part in parts) for name in ("used", "resting", "closed", "blocks")]
    return Usage(cidr.num_addresses, *sums)


def count(number: int) -> str:
    """For people; from a billion on only how large it is."""
    return f"{number:,}" if number < 10**9 else f"{number:.2e}"


def bar(usage: Usage) -> "Text":
    """Use as a bar; what is not nothing has a cell at least."""
    from rich.text import Text  # noqa: PLC0415 - 30 ms that JSON need not pay

    drawn, left = Text(), _WIDTH
    full = usage.used / usage.size
    parts = (
        (usage.used, "█", "green" if full < 0.8 else "yellow" if full < 0.95 else "red"),
        (usage.resting, "▓", "cyan"),
        (usage.closed, "▒", "magenta"),
    )
    for count, sign, style in parts:
        cells = min(left, max(1, _WIDTH * count // usage.size)) if count else 0
        drawn.append(sign * cells, style)
        left -= cells
    return drawn.append("░" * left, "dim")
