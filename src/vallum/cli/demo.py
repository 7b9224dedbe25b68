"""`vallum demo`: the main job for a newcomer, printed as it happens."""

import asyncio
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vallum.cli.output import wants_colour
from vallum.kernel import sandbox
from vallum.lab import demo
from vallum.lab.lab import Lab, LabSettings, started
from vallum.lab.live import Change
from vallum.model.errors import InputError, KernelError
from vallum.model.objects import Object
from vallum.sources.folder import read_world

_DENIED = ("guest/outsider", "data/db", 5432)
_LABELLED = ("shop/worker", {"quarantine": "yes"}, "data/cache", 6379)
_CUSTOMERS = ("203.0.113.10", "203.0.113.70")
_FULL, _PART, _NONE = "■", "◪", "·"


@click.command("demo")
@click.option("--world", "path", default=None, metavar="DIR", help="The shop, if it is not in ./examples/shop.")
def command(path: str | None) -> None:
    """A small shop on two nodes, its NetworkPolicies enforced by this machine's kernel, and the proof by packets.

    Needs no Kubernetes and no root; everything lives in private namespaces that end with the command.
    Exit 1 where packets and judge differ.
    """
    refusal = sandbox.probe()
    if refusal:
        raise InputError("demo", refusal)
    world = read_world(path or _shop())
    with sandbox.spawn(lambda: _main(world.objects), tie_to_parent=True) as box:
        sys.exit(box.wait())


def _shop() -> Path:
    here = Path("examples/shop")
    beside = Path(__file__).parents[3] / here
    for folder in (here, beside):
        if folder.is_dir():
            return folder
    raise InputError("demo", "examples/shop is not here; run it in a clone, or give --world DIR")


def _main(objects: tuple[Object, ...]) -> int:
    console = Console(no_color=not wants_colour(), highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        return asyncio.run(_Show(console, objects).run())
    except (InputError, KernelError) as error:
        print(f"vallum: {error}", file=sys.stderr)
        return 2


class _Show:
    """The steps in order. `odd` collects what differed between packets and judge."""

    def __init__(self, console: Console, objects: tuple[Object, ...]) -> None:
        self._console = console
        self._objects = objects
        self._start = time.monotonic()
        self._odd: list[str] = []

    async def run(self) -> int:
        self._step("Two nodes, a router, a shop: network namespaces with real servers. No policy yet.")
        async with started(LabSettings(), demo.without_policies(self._objects)) as lab:
            self._draw(await demo.matrix(lab, _CUSTOMERS))
            seconds = await lab.apply(self._objects)
            policies = len(self._objects) - len(demo.without_policies(self._objects))
            text = f"{policies} NetworkPolicies applied; enforced on both nodes {seconds * 1000:.0f} ms later."
            self._step(text)
            self._draw(await demo.matrix(lab, _CUSTOMERS))
            await self._explain(lab)
            await self._live(lab)
        return self._end()

    def _step(self, text: str) -> None:
        elapsed = f"{time.monotonic() - self._start:4.1f} s "
        self._console.print(Text(elapsed, style="dim") + Text(text, style="bold"))

    def _draw(self, matrix: demo.Matrix) -> None:
        self._odd += matrix.odd
        drawn = Table(box=None, pad_edge=False, padding=(0, 1))
        drawn.add_column("from \\ to", style="dim")
        for column in matrix.columns:
            drawn.add_column(column.replace("/", "/\n"), justify="center")
        for row in matrix.rows:
            drawn.add_row(row, *(_cell(matrix.cells.get((row, column))) for column in matrix.columns))
        self._console.print(drawn)
        agree = "all as the judge says" if not matrix.odd else f"{len(matrix.odd)} differ from the judge"
        legend = f"{_FULL} every port  {_PART} some  {_NONE} none"
        self._console.print(Text(f"{legend}   {matrix.probes} probes sent over IPv4 and IPv6, {agree}\n", style="dim"))

    async def _explain(self, lab: Lab) -> None:
        source, target, port = _DENIED
        self._step(f"Why can {source} not reach {target} on {port}?")
        outcome = await demo.one(lab, source, target, port)
        if not outcome.fits:
            self._odd.append(f"{source} -> {target} {port}: packets say {outcome.sent}")
        for line in demo.why(lab, source, target, port).lines[1:]:
            self._console.print(line, soft_wrap=True)
        self._console.print(f"  and the kernel: {outcome.proof}\n", soft_wrap=True)

    async def _live(self, lab: Lab) -> None:
        pod, change, target, port = _LABELLED
        label = ", ".join(f"{key}={value}" for key, value in change.items())
        self._step(f"Label {pod} with {label} while it talks to {target}, one packet a millisecond; then take it back.")
        closed, opened = await demo.label_change(lab, pod, change, target, port)
        for word, seen in (("denied", closed), ("allowed", opened)):
            self._told(word, seen)

    def _told(self, word: str, seen: Change) -> None:
        if seen.obeyed == float("inf"):
            self._odd.append(f"label change: packets were never {word}")
            return
        counted = f"({seen.arrived} of {seen.sent} packets arrived)"
        self._console.print(f"  packets are {word} {seen.obeyed:.0f} ms after the change {counted}")

    def _end(self) -> int:
        for text in self._odd:
            self._console.print(Text(f"DIFFERENT {text}", style="red"))
        seconds = time.monotonic() - self._start
        verdict = (
            "FAILED: packets and judge differ" if self._odd else "Everything the packets did is what the judge says"
        )
        self._console.print(Text(f"\n{verdict}. {seconds:.1f} s, nothing left behind.", style="bold"))
        name = "vallum" if shutil.which("vallum") else sys.argv[0]
        self._console.print(
            "Try next:\n"
            f"  {name} lab up -f examples/shop        the same cluster, to play with\n"
            f"  {name} lab exec shop/web -- ip addr   a command in a pod\n"
            f"  {name} explain -f examples/shop guest/outsider data/db 5432\n"
            f"  edit examples/shop/policies.yaml, then: {name} lab apply -f examples/shop"
        )
        return 1 if self._odd else 0


def _cell(cell: demo.Cell | None) -> Text:
    if cell is None:
        return Text(" ")
    if cell.odd:
        return Text("!", style="bold red")
    if cell.open == cell.asked:
        return Text(_FULL, style="green")
    return Text(_PART, style="yellow") if cell.open else Text(_NONE, style="red")
