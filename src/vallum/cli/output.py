"""How commands print data: `-o table|json|yaml`, colour only on a terminal that wants it."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

FORMATS = click.Choice(["table", "json", "yaml"])
format_option = click.option("-o", "--output", type=FORMATS, default="table", show_default=True, help="Form of output.")


def show_data(data: Any, output: str) -> None:
    """Print plain data as JSON or YAML."""
    if output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    else:
        sys.stdout.buffer.write(msgspec.yaml.encode(data))
    sys.stdout.flush()


def show_line(data: Any) -> None:
    """Print one JSON line."""
    sys.stdout.buffer.write(msgspec.json.encode(data) + b"\n")


def wants_colour() -> bool:
    """Reports whether colours help: a terminal, and neither --no-color nor NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def table(title: str, columns: list[str], rows: "Sequence[Sequence[str | Text]]") -> None:
    """Print a table. rich is imported here: it costs 30 ms, which JSON need not pay."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Console(no_color=not wants_colour(), width=width, highlight=False).print(drawn)
