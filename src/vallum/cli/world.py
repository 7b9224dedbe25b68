"""How commands read a world of files: `-f` and `--api`, and what of it people should know, on stderr."""

import sys
from collections.abc import Iterable

import click

from vallum.policy.legacy import API_2016
from vallum.sources.folder import read_world
from vallum.sources.old_forms import Note
from vallum.sources.world import World

file_option = click.option("-f", "--file", "path", metavar="DIR|FILE", help="The world: a folder or file of manifests.")
api_option = click.option(
    "--api",
    type=click.Choice([API_2016]),
    help="Old policies (extensions/v1beta1) mean what they meant then; so they do where a namespace carries the "
    "annotation of that time.",
)


def load(path: str, api: str | None = None) -> World:
    """The world at a path. What was skipped and what was read as something else is said on stderr."""
    world = read_world(path, api)
    if world.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in world.skipped.items())
        print(f"vallum: skipped {kinds}", file=sys.stderr)
    show_notes(world.notes)
    return world


def show_notes(notes: Iterable[Note]) -> None:
    """Each on a line of stderr."""
    for note in notes:
        print(f"vallum: {note}", file=sys.stderr)
