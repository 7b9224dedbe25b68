"""The front door: one file a command, loaded when it is called. Floor 7.

Plain functions; `asyncio.run` once a command. Every error a user can cause ends here as one line.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from vallum import __version__
from vallum.model.errors import InputError, KernelError

_COMMANDS = {
    "agent": "Run the agent of one node.",
    "bench": "Measure, as ratios against a partner in the same run.",
    "convert": "Write old policies as networking.k8s.io/v1, with the meaning they had.",
    "demo": "The whole thing in half a minute: a small cluster, policies, packets, proof.",
    "diff": "What a change of manifests opens and what it closes.",
    "doctor": "What is wrong between nodes: MTU, closed ports, filters, forwarding, routes of others.",
    "explain": "Why may one end talk to another, or why not?",
    "ipam": "Which addresses there are, who has them, and how they follow zones, racks and hosts.",
    "judge": "Answer probes (JSON lines) about a folder of manifests; no kernel involved.",
    "lab": "A cluster of network namespaces to play with.",
    "lint": "What is wrong, useless or surprising in a folder of manifests.",
    "matrix": "Who reaches whom: pods, workloads or namespaces, nodes, and what is outside.",
    "status": "What is enforced on which node, what is late, what was repaired and dropped.",
    "uninstall": "Remove Vallum from a node or a cluster, and nothing else.",
}


class Lazy(click.Group):
    """Imports a command's module when it is used, so that `--help` stays quick.

    Args:
        table: name of each command -> its line of help.
        modules: what stands before the name in that of its module.
        words: of click.Group.
    """

    def __init__(self, table: Mapping[str, str], modules: str, **words: Any) -> None:
        super().__init__(**words)
        self._table = table
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._table:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name  # `ipam import`
        command: click.Command = import_module(f"{self._modules}{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))


@click.group(
    cls=Lazy,
    table=_COMMANDS,
    modules="vallum.cli.",
    epilog="Start with `vallum demo`; then `vallum lab up -f examples/shop` and `vallum lab --help`.",
)
@click.version_option(__version__, prog_name="vallum")
@click.option("--no-color", is_flag=True, help="Plain text; so does NO_COLOR in the environment. Any command takes it.")
def cli(*, no_color: bool) -> None:
    """Kubernetes NetworkPolicy: enforced by the kernel, explained by the same compiler.

    Exit status: 0 fine, 1 a negative answer (a denied probe, a goal not met), 2 wrong usage or input.
    """
    if no_color:
        os.environ["NO_COLOR"] = "1"


def main() -> None:
    """Run a command; user errors and the kernel's refusals are one line on stderr each."""
    words = sys.argv[1:]
    if "--no-color" in words and "--" not in words[: words.index("--no-color")]:  # wherever it stands
        words.remove("--no-color")
        words.insert(0, "--no-color")
    try:
        cli(words, prog_name="vallum")
    except (InputError, KernelError) as error:
        print(f"vallum: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
