"""`vallum ipam hosts`: where each host is placed; add one, relabel it, remove it."""

from typing import Any

import click

from vallum.cli.ipam import tree
from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.ipam.words import Listing, address, marks, relabelled
from vallum.cli.output import format_option, show_data, table
from vallum.ipam import place
from vallum.ipam.records import Change, Host, Place
from vallum.ipam.state import State
from vallum.model.errors import InputError

_label_option = click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeatable.")
_address_option = click.option("--address", "addresses", multiple=True, metavar="ADDRESS", help="Of it; repeatable.")


@click.group("hosts", cls=Listing)
def command() -> None:
    """Where each host is placed. An agent that starts joins by itself; `add` is for hosts without one.

    \b
      vallum ipam hosts
      vallum ipam hosts add node1 --label zone=z1 --label rack=r2 --address 192.0.2.1
      vallum ipam hosts label node1 disk=ssd spot-
      vallum ipam hosts remove node1 --dry-run
    """


@command.command("list")
@store_options
@format_option
def list_hosts(where: Where, output: str) -> None:
    """Every host with its labels, its groups and how many addresses it has in use."""
    with opened(where) as store:
        state = store.state()
    hosts = sorted(state.hosts.values(), key=lambda host: host.name)
    if output != "table":
        show_data([facts(state, host) for host in hosts], output)
        return
    rows = []
    for host in hosts:
        labels = ",".join(f"{key}={value}" for key, value in host.labels)
        addresses = ",".join(map(str, host.addresses))
        first, *more = [_line(state, each) for each in host.places] or ["nowhere"]
        rows.append([host.name, labels, addresses, first, str(in_use(state, host.name))])
        rows += [["", "", "", each, ""] for each in more]
    table("", ["host", "labels", "addresses", "placed in", "in use"], rows)


@command.command("add")
@click.argument("name")
@_label_option
@_address_option
@dry_run_option
@store_options
@format_option
def add(name: str, labels: tuple[str, ...], addresses: tuple[str, ...], dry: bool, where: Where, output: str) -> None:
    """Place a new host in every network that has a group for it: the one with the fewest hosts."""
    own, found = marks(labels, "--label"), tuple(address(text, "--address") for text in addresses)
    with opened(where) as store:
        store.by_hand(name, "its agent has it join, with the labels of the node (--ipam cluster)")
        done = decided(store, lambda state: (place.join(state, name, own, found), None), dry=dry)
        _told(store.state(), done.change, output, dry=dry)


@command.command("label")
@click.argument("name")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@dry_run_option
@store_options
@format_option
def label(name: str, changes: tuple[str, ...], dry: bool, where: Where, output: str) -> None:
    """Change labels, such that the host keeps its groups; networks that its labels open to it are added.

    Labels that would take it out of its group are refused: to move a host, remove it and add it again.
    """

    def decide(state: State) -> tuple[Change, None]:
        before = place.known(state, name).labels
        return place.relabel(state, name, relabelled(before, changes, f"Host {name} labels")), None

    with opened(where) as store:
        store.by_hand(name, f"label the node: kubectl label node {name} {' '.join(changes)}")
        done = decided(store, decide, dry=dry)
        _told(store.state(), done.change, output, dry=dry)


@command.command("remove")
@click.argument("name")
@click.option("--with-addresses", is_flag=True, help="Also if some are in use: the node is gone for good.")
@dry_run_option
@store_options
@format_option
def remove(name: str, with_addresses: bool, dry: bool, where: Where, output: str) -> None:
    """Remove a host: its blocks become anybody's of their group, and its prefix is free for another.

    A host with addresses in use is refused, because they would be given to other pods while its own still use them.
    """
    with opened(where) as store:
        store.by_hand(name, f"the Host goes with the node: kubectl delete node {name}")

        def decide(state: State) -> tuple[Change, None]:
            used = in_use(state, place.known(state, name).name)
            if used and not with_addresses:
                cure = "drain it first, or give --with-addresses when it is gone for good"
                raise InputError(f"Host {name}", f"{used} of its addresses are in use; {cure}")
            return place.leave(state, name, store.now()), None

        done = decided(store, decide, dry=dry)
    show_change(done.change, output, dry=dry, answer={"host": name}, lines=[])


def _told(state: State, change: Change, output: str, *, dry: bool) -> None:
    """Show a change of one host, with the ranges it gets."""
    hosts = [each for each in change.puts if isinstance(each, Host)]
    lines = [f"{host.name}: {_line(state, each)}" for host in hosts for each in host.places]
    places = [_place_facts(state, each) for host in hosts for each in host.places]
    show_change(change, output, dry=dry, answer={"places": places}, lines=lines)


def in_use(state: State, name: str) -> int:
    """How many addresses a host has in use, strays among them."""
    strays = sum(stray.host == name for stray in state.strays.values())
    return sum(len(block.used) for block in state.blocks_of(name)) + strays


def facts(state: State, host: Host) -> dict[str, Any]:
    """A host as data."""
    return {
        "name": host.name,
        "labels": dict(host.labels),
        "addresses": [str(each) for each in host.addresses],
        "places": [_place_facts(state, each) for each in host.places],
        "blocks": [str(block.cidr) for block in state.blocks_of(host.name)],
        "inUse": in_use(state, host.name),
    }


def _place_facts(state: State, at: Place) -> dict[str, str]:
    return {"network": at.network, "group": tree.way(state, at.network, at.path), "cidr": str(state.region(at))}


def _line(state: State, at: Place) -> str:
    return f"{at.network}: {tree.way(state, at.network, at.path)}, {state.region(at)}"
