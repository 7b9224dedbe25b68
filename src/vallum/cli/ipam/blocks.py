"""`vallum ipam blocks`: the blocks there are, whose they are, and what of them is in use."""

from typing import Any

import click

from vallum.cli.ipam import tree
from vallum.cli.ipam.store import Where, opened, store_options
from vallum.cli.output import format_option, show_data, table
from vallum.ipam.choose import rests
from vallum.ipam.place import known
from vallum.ipam.records import Block
from vallum.ipam.state import State
from vallum.ipam.usage import Usage
from vallum.model.address import Packed, show
from vallum.model.errors import InputError


@click.command("blocks")
@click.option("--host", metavar="NAME", help="Only those of this host.")
@click.option("--network", "name", metavar="NAME", help="Only those of this network.")
@click.option("--owners", is_flag=True, help="A line for each address in use, with its owner.")
@store_options
@format_option
def command(host: str | None, name: str | None, owners: bool, where: Where, output: str) -> None:
    """Every block with its group, its host and its use. A block of nobody is empty and may become anybody's."""
    with opened(where) as store:
        state, now = store.state(), store.now()
    if host is not None:
        known(state, host)
    if name is not None and name not in state.networks:
        raise InputError(f"Network {name}", f"is not here; networks are: {', '.join(state.networks) or 'none'}")
    found = [
        block
        for _, block in sorted(state.blocks.items())
        if host in {None, block.host} and name in {None, block.network}
    ]
    if output != "table":
        show_data([_facts(state, block, now) for block in found], output)
    elif owners:
        rows = [[show(at), block.host or "", owner] for block in found for at, owner in _owners(block)]
        table("", ["address", "host", "owner"], rows)
    else:
        columns = ["block", "network", "group", "host", "tenant", "in use", "", "resting"]
        table("", columns, [_row(state, block, now) for block in found])


def _owners(block: Block) -> list[tuple[Packed, str]]:
    return [(Packed(block.first + offset), owner) for offset, owner in sorted(block.used.items())]


def _row(state: State, block: Block, now: float) -> list[Any]:
    usage = _usage(block, now)
    whose = [block.host or "nobody", block.tenant]
    resting = str(usage.resting) if usage.resting else ""
    return [str(block.cidr), block.network, _group(state, block), *whose, str(usage.used), tree.bar(usage), resting]


def _facts(state: State, block: Block, now: float) -> dict[str, Any]:
    return {
        "cidr": str(block.cidr),
        "network": block.network,
        "group": _group(state, block),
        "host": block.host,
        "tenant": block.tenant,
        "used": {show(at): owner for at, owner in _owners(block)},
        "resting": [show(Packed(block.first + offset)) for offset, at in block.freed.items() if rests(at, now)],
    }


def _usage(block: Block, now: float) -> Usage:
    resting = sum(rests(at, now) for at in block.freed.values())
    return Usage(block.size, len(block.used), resting, 0, 1)


def _group(state: State, block: Block) -> str:
    spot = state.trees[block.network].leaf_at(block.first)
    return tree.way(state, block.network, spot.path) if spot else ""
