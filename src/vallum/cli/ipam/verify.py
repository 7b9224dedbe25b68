"""`vallum ipam verify`: the ledger against itself, and against the pods that a cluster or an agent knows of."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from vallum.cli.ipam.store import Where, opened, store_options
from vallum.cli.node import live_world, node_option, socket_of, socket_option
from vallum.cli.output import format_option, show_data
from vallum.cli.world import load
from vallum.ipam import Owner
from vallum.ipam.state import State
from vallum.ipam.verify import verify
from vallum.model.address import Address, pack
from vallum.model.objects import Object, Pod

Held = dict[str, dict[Owner, list[Address]]]


@click.command("verify")
@click.option("--pods", "path", metavar="DIR|FILE", help="The pods there are: kubectl get pods -A -o yaml, or -.")
@node_option
@socket_option
@store_options
@format_option
def command(path: str | None, node: bool, socket: Path | None, where: Where, output: str) -> None:
    """Prove the ledger: no address twice, every one in its host's range, groups that aggregate.

    With --pods also against those pods, all of them: an address that one has and nobody gave, or that was given on
    another host, or that no pod uses. With --node or --socket, the pods are those that the agent of this node knows.
    A pod that is just starting or ending may be told of; look again. Exit 1 with findings.
    """
    live = socket_of(path, socket, node=node) if path is not None or node or socket is not None else None
    objects = live_world(live).objects if live else load(path).objects if path is not None else None
    with opened(where, whole=True) as store:
        state = store.state()
    findings = verify(state, None if objects is None else _held(state, objects))
    if output != "table":
        show_data([{"rule": each.rule, "place": each.place, "text": each.text} for each in findings], output)
    else:
        for each in findings:
            print(each)
        used = sum(len(block.used) for block in state.blocks.values())
        print(
            f"{len(findings)} findings: {len(state.hosts)} hosts, {len(state.blocks)} blocks, {used} addresses in use"
        )
    sys.exit(1 if findings else 0)


def _held(state: State, objects: Iterable[Object]) -> Held:
    """Who uses what on each host. A pod that has what was given on its host is its owner, whatever the owner's name."""
    held: Held = {name: {} for name in state.hosts}
    for each in objects:
        if isinstance(each, Pod) and each.node and not each.host_network and not each.finished:
            for address in each.addresses:
                host, owner = state.holder(pack(address)) or ("", "")
                name = owner if host == each.node else f"pod {each.id}"
                held.setdefault(each.node, {}).setdefault(name, []).append(address)
    return held
