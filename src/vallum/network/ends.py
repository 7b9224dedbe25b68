"""Between which addresses two nodes exchange packets: the ends of a tunnel, the gateway of a route.

Pure. What it ignores: whether a route leads there (`model.ground`), and what travels.
"""

from collections.abc import Mapping
from dataclasses import replace

from vallum.model.address import Address, Network
from vallum.model.objects import Node
from vallum.network.memo import Memo
from vallum.network.options import Options


def reached(node: Node) -> Node:
    """The node without its addresses in its own pods' ranges: an agent publishes all of its node, and those that are in
    there are found through its tunnels only.
    """
    return _REACHED.get(node.name, (node,), lambda: _without_overlay(node))


def ends(node: Node) -> dict[int, Address]:
    """By family the address at which others reach this node: the first that it states."""
    return {each.version: each for each in reversed(node.addresses)}


def outer_family(own: Mapping[int, object], other: Mapping[int, object], wanted: int) -> int | None:
    """The family of outer packets between nodes with these ends, the same from both sides. None: they share none."""
    return next((each for each in (wanted, 10 - wanted) if each in own and each in other), None)


def source_for(network: Network, options: Options) -> Address | None:
    """What this node's own packets to that range come from, when they go through a tunnel."""
    return next((each for each in options.sources if each.version == network.version), None)


_REACHED: Memo[Node] = Memo()


def _without_overlay(node: Node) -> Node:
    inside = [each for each in node.addresses if any(each in network for network in node.pod_ranges)]
    return replace(node, addresses=tuple(each for each in node.addresses if each not in inside)) if inside else node
