"""How much of a range is in use, rests, is closed or free: what a person asks before and after a change. Pure.

Every address of a range is exactly one of these. It looks at each block of the network, and at none of its addresses
that are not in one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vallum.ipam.choose import rests
from vallum.ipam.records import Blackout, Block, Network
from vallum.ipam.state import State
from vallum.ipam.topology import Spot
from vallum.model.address import Network as Cidr
from vallum.model.address import Packed, span


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of addresses. `used` + `resting` + `closed` + `free` = `size`.

    Attributes:
        size: all of them.
        used: given out, or in use though they were not.
        resting: freed within the last `REST` seconds.
        closed: reserved, blacked out, or an end of a subnet, and not in use.
        free: the others.
        blocks: how many blocks are cut from the range.
    """

    size: int
    used: int
    resting: int
    closed: int
    blocks: int

    @property
    def free(self) -> int:
        """What may be given now."""
        return self.size - self.used - self.resting - self.closed


def usage_of(state: State, network: Network, cidr: Cidr, now: float) -> Usage:
    """Count a range of a network."""
    first, last = span(cidr)
    closed = state.trees[network.name].closed
    used, resting = set[Packed](), 0
    blocks = [block for block in state.blocks.values() if block.network == network.name]
    mine = [block for block in blocks if block.first + block.size > first and block.first <= last]
    for block in mine:
        used |= {at for offset in block.used if first <= (at := Packed(block.first + offset)) <= last}
        resting += sum(
            first <= block.first + offset <= last
            and rests(at, now)
            and closed.end_of(Packed(block.first + offset)) is None
            and not state.is_stray(Packed(block.first + offset))
            for offset, at in block.freed.items()
        )
    used |= {address for address in state.astray() if first <= address <= last}
    shut = sum(high - low + 1 for low, high in closed.inside(first, last))
    shut -= sum(closed.end_of(address) is not None for address in used)
    return Usage(last - first + 1, len(used), resting, shut, len(mine))


def usage_tree(state: State, network: Network, now: float) -> Iterator[tuple[Spot, Usage, int]]:
    """Each group of a network, parents first, with its use and how many hosts are in it or below."""
    tree = state.trees[network.name]
    for path, spot in tree.spots.items():
        hosts = sum(count for where, count in tree.hosts.items() if where[: len(path)] == path)
        yield spot, usage_of(state, network, spot.cidr, now), hosts


def draining(state: State) -> Iterator[tuple[Blackout, list[Packed]]]:
    """Each blackout with the addresses in it that are still in use."""
    for blackout in state.blackouts.values():
        first, last = span(blackout.cidr)
        yield (
            blackout,
            sorted(at for block in _across(state, first, last) for at in _in_use(block) if first <= at <= last),
        )


def _across(state: State, first: Packed, last: Packed) -> Iterator[Block]:
    return (block for block in state.blocks.values() if block.first <= last and block.first + block.size > first)


def _in_use(block: Block) -> Iterator[Packed]:
    return (Packed(block.first + offset) for offset in block.used)
