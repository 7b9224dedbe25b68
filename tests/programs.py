"""Worlds rendered for one node, with links invented for its pods: what plane tests feed to the kernel."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from vallum.dataplane.nftables.program import Program
from vallum.dataplane.nftables.render import render
from vallum.model.address import Network, pack
from vallum.model.attachment import Attachment, LocalNode
from vallum.model.objects import Object
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.classify import classify
from vallum.policy.compile import compile_node
from vallum.policy.ruleset import Ruleset
from worlds import world

OWN = frozenset(pack(ip_address(text)) for text in ("172.20.0.11", "fd00:172:20::11", "fe80::11", "127.0.0.1", "::1"))


def local_node(ruleset: Ruleset, closed: tuple[Network, ...] = (), *, bridged: bool = False) -> LocalNode:
    """Each pod on a link named after it, or all on one bridge."""
    attached = []
    for local in ruleset.locals:
        link = f"v-{local.pod.name}"[:15]
        place = ("cni0", local.addresses, True, link) if bridged else (link, local.addresses)
        attached.append(Attachment(local.pod, *place))
    return LocalNode(ruleset.node or "", tuple(attached), OWN, closed)


def program_of(
    things: Snapshot | Iterable[Object],
    *,
    node: str = "node1",
    marks: bool = True,
    closed: tuple[Network, ...] = (),
    bridged: bool = False,
) -> Program:
    """The nft program of a node of this world."""
    snapshot = things if isinstance(things, Snapshot) else snapshot_of(tuple(things))
    ruleset = compile_node(snapshot, node)
    return render(ruleset, classify(ruleset), local_node(ruleset, closed, bridged=bridged), marks=marks)


def linkless(program: Program) -> Program:
    """The table alone: where no links exist there is no reverse path filter to read back."""
    return replace(program, strict=frozenset())


def random_program(random: Random, node: str = "node1") -> Program:
    """The table of a random world."""
    return linkless(program_of(world(random), node=node))
