"""`vallum diff`: what a change of manifests opens and closes, between two folders or a live node and a folder."""

import sys
from pathlib import Path

import click

from vallum.analysis.diff import Change, Difference, diff
from vallum.analysis.parties import FAMILIES, By, usual
from vallum.analysis.ranges import texts
from vallum.cli.node import SOCKET, live_world
from vallum.cli.output import format_option, show_data, table
from vallum.cli.world import api_option, load
from vallum.model.errors import InputError
from vallum.sources.world import World, snapshot


@click.command("diff")
@click.argument("paths", nargs=-1, metavar="OLD NEW")
@click.option("--node", is_flag=True, help="OLD is what the agent of this node enforces; only NEW is named.")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help=f"Where that agent answers, if not at {SOCKET}; implies --node.",
)
@api_option
@click.option(
    "--by",
    type=click.Choice([str(by) for by in By]),
    help="Ends of connections; default: workloads where there are some.",
)
@click.option("--family", type=click.Choice(["4", "6"]), help="Only this address family; default: both.")
@format_option
def command(
    paths: tuple[str, ...],
    node: bool,
    socket: Path | None,
    api: str | None,
    by: str | None,
    family: str | None,
    output: str,
) -> None:
    """What opens and what closes on the way from OLD to NEW: connections, not lines of YAML.

    \b
      vallum diff examples/shop my-shop
      vallum diff --node my-shop            what applying this folder would do here

    Exit 0 when no connection differs and both have the same ends, 1 otherwise.
    """
    old, new = (snapshot(world) for world in _worlds(paths, socket or (SOCKET if node else None), api))
    chosen = By(by) if by else usual(new)
    found = diff(old, new, chosen, (int(family),) if family else FAMILIES)
    if output == "table":
        _show(found)
    else:
        show_data(found.facts(), output)
    sys.exit(0 if found.empty else 1)


def _worlds(paths: tuple[str, ...], live: Path | None, api: str | None) -> tuple[World, World]:
    wanted = 1 if live else 2
    if len(paths) != wanted:
        named = "beside --node only NEW is named" if live else "OLD and NEW are named, or --node and NEW"
        raise InputError("diff", f"{named}; got {len(paths)} path{'s' * (len(paths) != 1)}")
    if paths.count("-") > 1:
        raise InputError("diff", "standard input can be one of the two worlds only")
    return (live_world(live), load(paths[0], api)) if live else (load(paths[0], api), load(paths[1], api))


def _show(found: Difference) -> None:
    if found.empty:
        print("no connection differs")
        return
    for title, changes in (("OPENED", found.opened), ("CLOSED", found.closed)):
        _list(title, changes, ["because"])
    for title, names in (("NEW", found.new), ("GONE", found.gone)):
        if names:
            print(f"{title}: {', '.join(names)}\n")
    _list("OPENED by what is new", found.opened_by_new, [])
    _list("CLOSED by what is gone", found.closed_by_gone, [])


def _list(title: str, changes: tuple[Change, ...], more: list[str]) -> None:
    if changes:
        table(title, ["from", "to", "ports", *more], [_line(change, more) for change in changes])
        print()


def _line(change: Change, more: list[str]) -> list[str]:
    ports = [*texts(change.all), *(f"some: {text}" for text in texts(change.some))]
    because = ["; ".join(map(str, change.because))] if more else []
    return [change.source, change.target, ", ".join(ports), *because]
