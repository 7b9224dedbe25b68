"""`vallum ipam import`: put an export back, at once, without ever forgetting what is in use."""

import click

from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.layout import read_documents, told
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.output import format_option
from vallum.ipam.backup import put_back, read
from vallum.ipam.records import Change
from vallum.ipam.state import State


@click.command("import")
@click.argument("path", metavar="FILE")
@dry_run_option
@store_options
@format_option
def command(path: str, dry: bool, where: Where, output: str) -> None:
    """Make the ledger what FILE says, an `export` of ours, in one step.

    What is in use now stays in use: an address that the export does not know, or that it gives to another, keeps its
    owner. Restart the agent afterwards: it tells the ledger what its node uses, and nothing of that is handed out.
    Refused (exit 2) is an export that contradicts itself.
    """
    found = read_documents(path)
    with told(found):
        records = read(each.body for each in found)
    with opened(where, create=True, dry=dry) as store:

        def decide(state: State) -> tuple[Change, list[str]]:
            change, kept = put_back(state, records, store.now())
            return store.ours(state, change), kept

        done = decided(store, decide, dry=dry)
    kept = done.result
    lines = [f"{len(records)} records read"]
    if kept:
        lines.append(f"{len(kept)} addresses are in use now and not so in the file; they stay: {', '.join(kept[:5])}")
    show_change(done.change, output, dry=dry, answer={"records": len(records), "kept": kept}, lines=lines)
