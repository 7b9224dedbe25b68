"""`vallum explain`: one question about files, answered with the reasons of both sides."""

import sys

import click

from vallum.analysis import explain as question
from vallum.analysis.probe import parse
from vallum.cli.output import format_option, show_data, wants_colour
from vallum.model.errors import InputError
from vallum.sources.folder import read_world, snapshot


@click.command("explain")
@click.option(
    "-f", "--file", "path", required=True, metavar="DIR|FILE", help="The world: a folder or file of manifests."
)
@click.argument("source")
@click.argument("target")
@click.argument("service", required=False)
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family where both ends have both.")
@format_option
def command(path: str, source: str, target: str, service: str | None, family: str | None, output: str) -> None:
    """Why may SOURCE talk to TARGET, or why not?

    Ends are namespace/pod or an address; SERVICE is PORT[/PROTO] or a protocol (default: ICMP).

    \b
      vallum explain -f examples/shop guest/outsider data/db 5432
      vallum explain -f examples/shop 203.0.113.70 shop/web 8080/TCP

    Exit 0 when the packet passes, 1 when it is denied.
    """
    line: dict[str, object] = {"from": source, "to": target} | _service(service)
    if family:
        line["family"] = int(family)
    found = question.explain(snapshot(read_world(path)), parse(line))
    if output == "table":
        colour = ("green" if found.verdict.allow else "red") if wants_colour() else None
        click.secho(found.lines[0], fg=colour, bold=wants_colour())
        print("\n".join(found.lines[1:]))
    else:
        show_data(found.facts(), output)
    sys.exit(0 if found.verdict.allow else 1)


def _service(text: str | None) -> dict[str, object]:
    if text is None:
        return {"protocol": "ICMP"}
    port, _, protocol = text.partition("/")
    if port.isdigit():
        return {"port": int(port), "protocol": protocol or "TCP"}
    if text.isalpha() and not protocol:
        return {"protocol": text}
    raise InputError("SERVICE", f"PORT, PORT/PROTO or a protocol, such as 5432, 53/UDP or ICMP; got {text!r}")
