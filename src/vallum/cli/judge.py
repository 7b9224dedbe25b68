"""`vallum judge`: probes in, verdicts out, about files; no kernel involved."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from vallum.analysis.verdicts import Verdicts
from vallum.cli.node import chosen_world, world_options
from vallum.cli.output import show_line
from vallum.model.errors import InputError
from vallum.sources.world import snapshot


@click.command("judge")
@world_options
def command(path: str | None, api: str | None, node: bool, socket: Path | None) -> None:
    """Answer probes about a folder of manifests, or about what the agent of this node enforces.

    Reads JSON lines on standard input and writes one verdict a line:

    \b
      echo '{"from": "shop/web", "to": "data/db", "port": 5432}' | vallum judge -f examples/shop

    Exit 0 when every probe was answered, whatever the verdicts; 1 when a line has an error.
    """
    if path == "-":
        raise InputError("-f -", "standard input carries the probes; give the world as a folder or file")
    failed = False
    for answer in Verdicts(snapshot(chosen_world(path, api, socket, node=node))).answers(json_lines()):
        failed = failed or "error" in answer
        show_line(answer)
    sys.stdout.flush()
    sys.exit(1 if failed else 0)


def json_lines() -> Iterator[dict[str, Any] | InputError]:
    """Objects from the lines of standard input; a line that is none becomes an error that names it."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            yield InputError(f"line {number}", f"not a JSON object: {error}")
