"""Which groups and ranges belong to which node, where nodes take blocks as they need them, and how packets travel
between them. Pure.

A node's own prefix stands for all of its blocks; others are merged where they lie side by side. What it ignores: who
routes what where (`network.aggregate`), and where the records come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vallum.ipam.records import Host
from vallum.ipam.state import State
from vallum.model.objects import Pool
from vallum.network.aggregate import Member, members_of


@dataclass(frozen=True, slots=True)
class Territory:
    """Nodes by name, and pools by name."""

    members: Mapping[str, Member]
    pools: Mapping[str, Pool]


def territory(state: State) -> Territory:
    """All that the records say of it."""
    return Territory(_members(state), {name: network.pool for name, network in state.networks.items()})


def _members(state: State) -> dict[str, Member]:
    """Every host's. One that others moved to a layout that is not in force here keeps its prefix and blocks alone."""
    ahead = {name for name, host in state.hosts.items() if not _stands(state, host)}
    if not ahead:
        return {each.name: each for each in members_of(state)}
    rest = State(each for each in state.records() if not (isinstance(each, Host) and each.name in ahead))
    found = {each.name: each for each in members_of(rest)}
    for name in ahead:
        prefixes = [each.prefix for each in state.hosts[name].places if each.prefix]
        blocks = [each.cidr for each in state.blocks_of(name)]
        found[name] = Member(name, (), (*prefixes, *blocks))
    return found


def _stands(state: State, host: Host) -> bool:
    trees = state.trees
    return all(each.network in trees and each.path in trees[each.network].spots for each in host.places)
