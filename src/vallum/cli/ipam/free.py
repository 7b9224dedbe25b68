"""`vallum ipam free`: take one address back, or all that an owner has."""

import sys
from ipaddress import ip_address

import click

from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.ipam.words import is_address
from vallum.cli.output import format_option
from vallum.ipam import blocks
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.model.address import parse
from vallum.model.errors import InputError


@click.command("free")
@click.argument("what", metavar="ADDRESS|OWNER")
@click.option("--host", metavar="NAME", help="Where the owner is, if several hosts have one of this name.")
@click.option("--owner", metavar="OWNER", help="Free the address only if it is this one's.")
@dry_run_option
@store_options
@format_option
def command(what: str, host: str | None, owner: str | None, dry: bool, where: Where, output: str) -> None:
    """Take back one ADDRESS, or all that an OWNER has. It rests for 30 seconds, then it may be given again.

    Nobody asks the node whether a pod still uses it: look first (`vallum ipam show ADDRESS`). Exit 1 if there is
    nothing to free.
    """
    with opened(where) as store:

        def decide(state: State) -> tuple[Change, None]:
            at = _host(state, what, host)
            if at:
                store.by_hand(at, "an address is free again when its pod is gone: kubectl delete pod")
            if is_address(what):
                return blocks.free_address(state, ip_address(what), store.now(), owner), None
            return blocks.free(state, at, what, store.now()), None

        done = decided(store, decide, dry=dry)
    show_change(done.change, output, dry=dry, answer={"freed": what if done.change else None}, lines=[])
    sys.exit(0 if done.change else 1)


def _host(state: State, what: str, host: str | None) -> str:
    """The host whose block has the address, or that the owner is on; empty where there is none."""
    if is_address(what):
        block = state.block_at(parse(what))
        return (block.host if block else None) or ""
    found = sorted({where for where, name, _ in state.holding() if name == what})
    if host is None and len(found) > 1:
        raise InputError(f"owner {what}", f"is on several hosts: {', '.join(found)}; give --host")
    return host or "".join(found)
