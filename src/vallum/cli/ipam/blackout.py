"""`vallum ipam blackout`: ranges of which nothing is handed out any more."""

import click

from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.ipam.words import Listing, cidr
from vallum.cli.output import format_option, show_data, table
from vallum.ipam.blackouts import black_out, lift
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.ipam.usage import draining
from vallum.model.address import Network as Cidr
from vallum.model.address import Packed, show, span


@click.group("blackout", cls=Listing)
def command() -> None:
    """Ranges of which nothing is handed out. Addresses in use there stay until they are freed: the range drains.

    \b
      vallum ipam blackout
      vallum ipam blackout add 10.64.0.0/28
      vallum ipam blackout remove 10.64.0.0/28
    """


@command.command("list")
@store_options
@format_option
def list_blackouts(where: Where, output: str) -> None:
    """Every blackout, with the addresses in it that are still in use."""
    with opened(where) as store:
        state = store.state()
    found = sorted(((blackout.cidr, used) for blackout, used in draining(state)), key=lambda each: span(each[0]))
    if output != "table":
        show_data([{"cidr": str(of), "inUse": [show(each) for each in used]} for of, used in found], output)
    else:
        rows = [[str(of), _network(state, of), str(len(used)), _some(state, used)] for of, used in found]
        table("", ["range", "network", "in use", ""], rows)


@command.command("add")
@click.argument("range_", metavar="CIDR")
@dry_run_option
@store_options
@format_option
def add(range_: str, dry: bool, where: Where, output: str) -> None:
    """Hand out nothing of CIDR from now on. It lies in one network and is not all of it."""
    of = cidr(range_, "CIDR")

    def decide(state: State) -> tuple[Change, list[Packed]]:
        first, last = span(of)
        used = [at for _, _, held in state.holding() for at in held if first <= at <= last]
        return black_out(state, of), sorted(used)

    with opened(where) as store:
        done = decided(store, decide, dry=dry)
        state = store.state()
    used = done.result
    lines = [f"{len(used)} in use there, which drain: {_some(state, used)}"] if used else []
    answer = {"cidr": str(of), "inUse": [show(each) for each in used]}
    show_change(done.change, output, dry=dry, answer=answer, lines=lines)


@command.command("remove")
@click.argument("range_", metavar="CIDR")
@dry_run_option
@store_options
@format_option
def remove(range_: str, dry: bool, where: Where, output: str) -> None:
    """Hand CIDR out again. It must be one of the list, exactly."""
    of = cidr(range_, "CIDR")
    with opened(where) as store:
        done = decided(store, lambda state: (lift(state, of), None), dry=dry)
    show_change(done.change, output, dry=dry, answer={"cidr": str(of)}, lines=[])


def _network(state: State, of: Cidr) -> str:
    network = state.network_at(span(of)[0])
    return network.name if network else ""


def _some(state: State, used: list[Packed]) -> str:
    holders = ((at, state.holder(at)) for at in used[:4])
    told = [f"{show(at)} ({holder[1]} on {holder[0]})" for at, holder in holders if holder]
    return ", ".join(told) + (f" and {len(used) - 4} more" if len(used) > 4 else "")
