"""`vallum status`: what one agent says of itself over its local socket."""

import sys
from pathlib import Path
from typing import Any

import click

from vallum.agent.ask import ask
from vallum.cli.output import format_option, show_data, table
from vallum.model.errors import InputError


@click.command("status")
@click.option(
    "--socket", "path", type=click.Path(path_type=Path), default=Path("/run/vallum/agent.sock"), show_default=True
)
@format_option
def command(path: Path, output: str) -> None:
    """Ask the agent of this node what it enforces, what it repaired, and what it dropped.

    Exit 0 when it is healthy, 1 when it says that something is wrong.
    """
    status = _ask(path)
    if output == "table":
        show(status)
    else:
        show_data(status, output)
    sys.exit(0 if status["healthy"] else 1)


def _ask(path: Path) -> dict[str, Any]:
    try:
        found = ask(path, {"op": "status"})
    except OSError as error:
        raise InputError(str(path), f"no agent answers here ({error.strerror}); is one running?") from error
    if not found:
        raise InputError(str(path), "the agent ended before it answered; ask again")
    return found


def show(status: dict[str, Any]) -> None:
    """Print one agent's status for people."""
    print(f"node {status['node']}: plane {status['plane']}, back end {status['backend']}, since {status['started']}")
    print(f"  holds revision {status['revision'] or 'none yet'} with {status.get('policies', 0)} policies; ", end="")
    print(f"{status['drops']} packets denied")
    for fault in ("source", "kernel"):
        if status[fault]:
            print(f"  {fault}: {status[fault]}")
    for problem in status["problems"]:
        print(f"  problem: {problem}")
    table("", ["pod", "link"], [[pod, link or "not attached"] for pod, link in sorted(status["pods"].items())])
    for repair in status["repairs"]:
        print(f"  {repair['at']} restored {repair['what']}: {repair['how']} by {repair['by']}")
