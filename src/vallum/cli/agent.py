"""`vallum agent`: assembled in `agent.run`; here only words become settings."""

import asyncio
import logging
import sys
from pathlib import Path

import click

from vallum import dataplane, network
from vallum.agent.settings import Settings
from vallum.model.errors import InputError

_PLANES = [name for name in dataplane.PLANES if name != "memory"]  # which enforces nothing


@click.command("agent")
@click.option("--node", required=True, help="Name of the node, as in spec.nodeName.")
@click.option("--source", required=True, metavar="folder:DIR", help="Where the world comes from.")
@click.option("--plane", type=click.Choice(["auto", *_PLANES]), default="auto", show_default=True)
@click.option("--backend", type=click.Choice([*network.BACKENDS, "none"]), default="hostgw", show_default=True)
@click.option("--socket", type=click.Path(path_type=Path), default=Path("/run/vallum/agent.sock"), show_default=True)
@click.option("--mark-mask", default="0xffff0000", show_default=True, help="Bits of the conntrack mark that are ours.")
def command(node: str, source: str, plane: str, backend: str, socket: Path, mark_mask: str) -> None:
    """Enforce the policies of one node, in this network namespace, until SIGTERM.

    The kernel keeps enforcing when the agent stops, is killed or restarts.
    """
    from vallum.agent.run import Agent  # noqa: PLC0415 - rtnetlink takes 0.1 s to import; --help need not pay

    kind, _, folder = source.partition(":")
    if kind != "folder" or not folder:
        raise InputError("--source", f"folder:DIR is what this version reads, got {source!r}")
    chosen = "nftables" if plane == "auto" else plane
    settings = Settings(node, Path(folder), chosen, backend, socket, mark_mask=_number(mark_mask))

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="vallum: %(message)s")

    async def run() -> None:
        await Agent(settings).run()

    asyncio.run(run())


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise InputError("--mark-mask", f"a number such as 0xffff0000, got {text!r}") from error
