"""`vallum ipam export`: the whole ledger as documents, a backup that `vallum ipam import` puts back."""

import sys

import click

from vallum.cli.ipam.store import Where, opened, store_options
from vallum.cli.output import show_data
from vallum.ipam.backup import documents
from vallum.sources.write import stream, yaml_of


@click.command("export")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@store_options
def command(output: str, where: Where) -> None:
    """Write everything: networks, topologies, hosts, blocks with their addresses, blackouts.

    \b
      vallum ipam export -o json > ledger-$(date +%F).json
    """
    with opened(where, whole=True) as store:
        found = documents(store.state())
    if output == "json":
        show_data({"apiVersion": "v1", "kind": "List", "items": found}, "json")
    else:
        sys.stdout.write(stream(map(yaml_of, found)))
