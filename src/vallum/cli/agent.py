"""`vallum agent`: assembled in `agent.run`; here only words become settings."""

import asyncio
import logging
import sys
from pathlib import Path

import click

from vallum import dataplane, network
from vallum.agent.settings import Settings
from vallum.model.errors import InputError


@click.command("agent")
@click.option("--node", required=True, help="Name of the node, as in spec.nodeName.")
@click.option("--source", required=True, metavar="folder:DIR", help="Where the world comes from.")
@click.option("--plane", type=click.Choice(["auto", *dataplane.PLANES]), default="auto", show_default=True)
@click.option("--backend", type=click.Choice([*network.BACKENDS, "none"]), default="hostgw", show_default=True)
@click.option("--socket", type=click.Path(path_type=Path), default=Path("/run/vallum/agent.sock"), show_default=True)
def command(node: str, source: str, plane: str, backend: str, socket: Path) -> None:
    """Enforce the policies of one node, in this network namespace, until SIGTERM.

    The kernel keeps enforcing when the agent stops, is killed or restarts.
    """
    from vallum.agent.run import Agent  # noqa: PLC0415 - rtnetlink takes 0.1 s to import; --help need not pay

    kind, _, folder = source.partition(":")
    if kind != "folder" or not folder:
        raise InputError("--source", f"folder:DIR is what this version reads, got {source!r}")
    settings = Settings(node, Path(folder), "nftables" if plane == "auto" else plane, backend, socket)

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="vallum: %(message)s")

    async def run() -> None:
        await Agent(settings).run()

    asyncio.run(run())
