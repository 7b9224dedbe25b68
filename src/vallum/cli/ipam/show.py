"""`vallum ipam show`: every network and group with its use, or where one address stands and who has it."""

import sys
from typing import Any

import click

from vallum.cli.ipam import tree
from vallum.cli.ipam.store import Where, opened, store_options
from vallum.cli.ipam.words import is_address
from vallum.cli.output import format_option, show_data, table
from vallum.ipam.choose import REST
from vallum.ipam.records import Network
from vallum.ipam.state import State
from vallum.ipam.usage import Usage, draining
from vallum.model.address import Packed, parse, show, unpack
from vallum.model.errors import InputError


@click.command("show")
@click.argument("what", metavar="[NETWORK|ADDRESS]", required=False)
@store_options
@format_option
def command(what: str | None, where: Where, output: str) -> None:
    """The use of every network and group, of one network; or where an ADDRESS stands and who has it.

    Numbers are addresses. What rests was freed within the last 30 seconds and is given only when nothing else is left.
    Exit 1 for an address that is in no network.
    """
    with opened(where) as store:
        state, now = store.state(), store.now()
    if what is not None and is_address(what):
        _show_address(state, parse(what), now, output)
    elif output == "table":
        _show_networks(state, _chosen(state, what), now)
    else:
        show_data(_facts(state, _chosen(state, what), now), output)


def _chosen(state: State, name: str | None) -> list[Network]:
    if name is None:
        return list(state.networks.values())
    if name not in state.networks:
        raise InputError(f"Network {name}", f"is not here; networks are: {', '.join(state.networks) or 'none'}")
    return [state.networks[name]]


def _facts(state: State, networks: list[Network], now: float) -> dict[str, Any]:
    found = []
    for network in networks:
        top = tree.branches(state, network, now)
        head = {"name": network.name, "cidr": str(network.cidr), "blockMask": network.block_mask}
        use = tree.usage_facts(tree.total(top, network.cidr))
        found.append({**head, **use, "groups": [tree.facts(each) for each in top]})
    strays = [{"address": str(o.address), "host": o.host, "owner": o.owner} for o in state.strays.values()]
    drains = [
        {"cidr": str(blackout.cidr), "inUse": [show(each) for each in used]} for blackout, used in draining(state)
    ]
    return {"revision": state.revision, "networks": found, "blackouts": drains, "strays": strays}


def _show_networks(state: State, networks: list[Network], now: float) -> None:
    if not networks:
        print("no network; begin with `vallum ipam topology set FILE` (examples/topologies has some)")
        return
    rows = []
    for network in networks:
        top = tree.branches(state, network, now)
        rows.append([network.name, str(network.cidr), *_numbers(tree.total(top, network.cidr), _hosts(top))])
        for line in tree.lines(top):
            spare = line.branches[0].spot.group.spare
            cells = ["", "", "", "", ""] if spare else _numbers(line.branches[0].usage, line.branches[0].hosts)
            rows.append([f"{line.lead}{line.label}", line.span, *cells])
        if not top:
            rows.append(["└─ in no topology: hands out nothing", "", "", "", "", "", ""])
    table("", ["network", "range", "hosts", "blocks", "in use", "", "free"], rows)
    print(tree.LEGEND)
    for blackout, used in draining(state):
        print(f"blacked out: {blackout.cidr}, still in use there: {len(used)}")
    for stray in state.strays.values():
        print(f"stray: {stray.address} is used on host {stray.host} by {stray.owner}; it is never handed out")


def _numbers(usage: Usage, hosts: int) -> list[Any]:
    return [f"{hosts:,}", f"{usage.blocks:,}", f"{usage.used:,}", tree.bar(usage), tree.count(usage.free)]


def _hosts(top: list[tree.Branch]) -> int:
    return sum(branch.hosts for branch in top)


def _show_address(state: State, address: Packed, now: float, output: str) -> None:
    found = where_is(state, address, now)
    if output != "table":
        show_data(found, output)
    else:
        for name, value in found.items():
            if value:
                print(f"{name:8} {value}")
    sys.exit(0 if found["network"] else 1)


def where_is(state: State, address: Packed, now: float) -> dict[str, str]:
    """What an address tells of its pod. A value is empty where there is nothing to say."""
    network, block = state.network_at(address), state.block_at(address)
    found = dict.fromkeys(("address", "network", "group", "range", "host", "block", "owner", "state"), "")
    found["address"] = show(address)
    if network is None:
        return found | {"state": "in no network"}
    found["network"] = network.name
    spot = state.trees[network.name].leaf_at(address)
    if spot is not None:
        found |= {"group": tree.way(state, network.name, spot.path), "range": str(spot.cidr)}
    if block is not None:
        offset = address - block.first
        found |= {"block": str(block.cidr), "host": block.host or "", "owner": block.used.get(offset, "")}
    return found | {"state": _condition(state, network, address, now)}


def _condition(state: State, network: Network, address: Packed, now: float) -> str:
    block = state.block_at(address)
    offset = address - block.first if block else 0
    stray = next((each for each in state.strays.values() if each.address == unpack(address)), None)
    closed = state.trees[network.name].closed.end_of(address) is not None
    if block is not None and offset in block.used:
        return "in use, blacked out: not handed out again" if closed else "in use"
    if stray is not None:
        return f"stray: used on host {stray.host} by {stray.owner}, though it was not given out"
    if closed:
        return "reserved or blacked out"
    since = block.freed.get(offset) if block else None
    if since is not None and now < since + REST:
        return f"rests for {since + REST - now:.0f} s more"
    if state.trees[network.name].leaf_at(address) is None:
        return "in no group that is open for hosts"
    return "free"
