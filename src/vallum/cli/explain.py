"""`vallum explain`: one question about files or about a live node, answered with the reasons of both sides."""

import sys
from pathlib import Path
from typing import Any

import click

from vallum.analysis import explain as question
from vallum.analysis.asked import Asked
from vallum.analysis.probe import parse
from vallum.cli.node import ask_node, socket_of, world_options
from vallum.cli.output import format_option, show_data, wants_colour
from vallum.cli.world import load
from vallum.model.errors import InputError
from vallum.sources.world import snapshot


@click.command("explain")
@world_options
@click.argument("source")
@click.argument("target")
@click.argument("service", required=False)
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family where both ends have both.")
@format_option
def command(
    path: str | None,
    api: str | None,
    node: bool,
    socket: Path | None,
    source: str,
    target: str,
    service: str | None,
    family: str | None,
    output: str,
) -> None:
    """Why may SOURCE talk to TARGET, or why not, and what would have to change?

    Ends are namespace/pod or an address; SERVICE is PORT[/PROTO] or a protocol (default: ICMP). With --node the
    agent of this node answers, about the world that it enforces.

    \b
      vallum explain -f examples/shop guest/outsider data/db 5432
      vallum explain -f examples/shop 203.0.113.70 shop/web 8080/TCP
      vallum explain --node guest/outsider data/db 5432

    Exit 0 when the packet passes, 1 when it is denied.
    """
    line: dict[str, object] = {"from": source, "to": target} | _service(service)
    if family:
        line["family"] = int(family)
    live = socket_of(path, socket, node=node)
    found = ask_node(live, {"op": "explain", "probe": line}) if live else _about_files(path or "", api, line)
    allowed = found["verdict"] == "allow"
    if output == "table":
        _show(found["text"], allowed=allowed)
    else:
        show_data(found, output)
    sys.exit(0 if allowed else 1)


def _about_files(path: str, api: str | None, line: dict[str, object]) -> dict[str, Any]:
    world = snapshot(load(path, api))
    return {"revision": world.revision} | question.explain(Asked(world), parse(line)).facts()


def _show(lines: list[str], *, allowed: bool) -> None:
    colour = ("green" if allowed else "red") if wants_colour() else None
    click.secho(lines[0], fg=colour, bold=wants_colour())
    print("\n".join(lines[1:]))


def _service(text: str | None) -> dict[str, object]:
    if text is None:
        return {"protocol": "ICMP"}
    port, _, protocol = text.partition("/")
    if port.isdigit():
        return {"port": int(port), "protocol": protocol or "TCP"}
    if text.isalpha() and not protocol:
        return {"protocol": text}
    raise InputError("SERVICE", f"PORT, PORT/PROTO or a protocol, such as 5432, 53/UDP or ICMP; got {text!r}")
