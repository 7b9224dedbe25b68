"""`vallum convert`: old policies in, networking.k8s.io/v1 out, with a note for everything that was done."""

import sys

import click
import msgspec

from vallum.cli.world import api_option, show_notes
from vallum.sources.convert import Converted, convert
from vallum.sources.romana import SEGMENT_LABEL
from vallum.sources.write import stream


@click.command("convert")
@click.argument("path", metavar="DIR|FILE|-")
@api_option
@click.option(
    "--segment-label", default=SEGMENT_LABEL, show_default=True, metavar="KEY", help="The label of Romana's segments."
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def command(path: str, api: str | None, segment_label: str, output: str) -> None:
    """Write old policies as networking.k8s.io/v1, with the meaning they had.

    Reads extensions/v1beta1 policies, the annotation that isolated a namespace in 2016, and Romana's own policies.
    Everything else is written as it stands. What was done is said on standard error; what v1 cannot say is refused.

    \b
      vallum convert old-cluster > new-cluster.yaml
      vallum convert --api 2016 -o json old-cluster | kubectl diff -f -
    """
    found = convert(path, api, segment_label)
    show_notes(found.notes)
    sys.stdout.buffer.write(_json(found) if output == "json" else stream(found.texts).encode())
    sys.stdout.flush()


def _json(found: Converted) -> bytes:
    items = [item for body in found.bodies for item in (body["items"] if body.get("kind") == "List" else [body])]
    data = {"apiVersion": "v1", "kind": "List", "items": items}
    return msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"
