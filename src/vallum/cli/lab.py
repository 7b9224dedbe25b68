"""`vallum lab ...`: a cluster to play with; every sub-command finds the lab by its name."""

import contextlib
import os
import signal
import sys
from typing import Any

import click

from vallum import dataplane, network
from vallum.cli.ipam.layout import read_layout
from vallum.cli.judge import json_lines
from vallum.cli.output import format_option, show_data, show_line, table
from vallum.cli.status import show as show_agent
from vallum.cli.travel import Told, travel_options, words
from vallum.cli.world import api_option, load
from vallum.kernel import netns, sandbox
from vallum.lab import control
from vallum.lab.lab import LabSettings
from vallum.lab.place import place
from vallum.lab.subnets import MOST as MOST_SUBNETS
from vallum.model.errors import InputError, KernelError

_name = click.option("--name", default="default", show_default=True, help="Which lab; several can be up.")
_PLANES = [name for name in dataplane.PLANES if name != "memory"]


@click.group("lab")
def command() -> None:
    """A cluster of network namespaces on this machine, real agents and real packets, no root needed.

    \b
      vallum lab up -f examples/shop
      vallum lab exec shop/web -- ip address
      echo '{"from": "guest/outsider", "to": "data/db", "port": 5432}' | vallum lab probe
      vallum lab apply -f my-policies
      vallum lab down

    Services are not simulated: probes go to pods, nodes and outside addresses.
    """


@command.command()
@_name
@click.option("-f", "--file", "path", metavar="DIR|FILE|-", help="The world: manifests; without it the lab is empty.")
@click.option("--nodes", type=click.IntRange(1, 200), help="At least so many; 2, or one a group of the topology.")
@click.option("--topology", metavar="FILE", help="Networks and topologies, ours or Romana's: zones, racks, routers.")
@click.option(
    "--subnets",
    type=click.IntRange(1, MOST_SUBNETS),
    default=1,
    show_default=True,
    help="Spread the nodes over so many, a router each; not with --topology.",
)
@click.option("--plane", type=click.Choice(_PLANES), default="nftables", show_default=True)
@click.option("--backend", type=click.Choice(list(network.BACKENDS)), default="hostgw", show_default=True)
@travel_options
@api_option
def up(
    name: str,
    path: str | None,
    nodes: int | None,
    topology: str | None,
    subnets: int,
    plane: str,
    backend: str,
    travel: Told,
    api: str | None,
) -> None:
    """Start a lab in the background.

    With a topology, the addresses of pods tell where they are: nodes are in its groups by their labels, each group has
    a link and a router, and nodes and routers hold one route a group. Nodes that the world does not state are labelled
    to fit. `vallum lab exec router:ZONE:RACK -- ip route` shows the routes.

    How packets travel between nodes is every agent's setting, and of pools that the world or topology states. Without
    a topology no router carries packets from a node to another node's pods: the back end does, or nobody.
    """
    objects = load(path, api).objects if path else ()
    layout = read_layout(topology) if topology else None
    if layout is not None and subnets > 1:
        raise InputError("--subnets", "a topology says which links there are; leave one of the two out")
    refusal = sandbox.probe()
    if refusal:
        raise InputError("lab", refusal)
    where = place(name)
    status = control.up(
        where, LabSettings(nodes, plane, backend, layout=layout, agent=words(travel), subnets=subnets), objects
    )
    _show(status)
    print(f"lab {name} is up; try `vallum lab exec NAMESPACE/POD -- COMMAND`, `vallum lab probe`, `vallum lab down`")
    if layout is not None:
        print(f"its addresses: `vallum ipam show --ledger {where.ledger}`")


@command.command()
@_name
@click.option("-f", "--file", "path", required=True, metavar="DIR|FILE|-")
@api_option
def apply(name: str, path: str, api: str | None) -> None:
    """Replace the lab's world. It is checked first; a world with errors changes nothing."""
    told = control.ask(place(name), {"op": "apply", "documents": control.documents(load(path, api).objects)})
    print(f"enforced on every node {told['milliseconds']} ms after it was written")


@command.command("exec", context_settings={"ignore_unknown_options": True})
@_name
@click.argument("pod")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, required=True)
def exec_(name: str, pod: str, words: tuple[str, ...]) -> None:
    """Run a command in a pod's network namespace (or a node's: give the node's name; or `router`)."""
    where = place(name)
    namespace = _namespace(control.ask(where, {"op": "status"}), pod)
    sandbox.enter(os.pidfd_open(where.pid()))
    child = os.fork()
    if child == 0:
        _become(namespace, words)
    for number in (signal.SIGINT, signal.SIGQUIT):  # the terminal sends them to the command as well
        signal.signal(number, signal.SIG_IGN)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


@command.command()
@_name
def probe(name: str) -> None:
    """Send probes: JSON lines in, what the packets did out, beside what the judge expects.

    Exit 0 when packets and judge agree everywhere, 1 otherwise.
    """
    lines = list(json_lines())
    good = [line for line in lines if not isinstance(line, InputError)]
    answers = iter(control.ask(place(name), {"op": "probe", "probes": good})["answers"])
    fits = True
    for line in lines:
        answer: dict[str, Any] = {"error": str(line)} if isinstance(line, InputError) else next(answers)
        fits = fits and "error" not in answer and answer["verdict"] == answer["expected"]
        show_line(answer)
    sys.stdout.flush()
    sys.exit(0 if fits else 1)


@command.command()
@_name
@format_option
def status(name: str, output: str) -> None:
    """Nodes, pods and their agents."""
    told = control.ask(place(name), {"op": "status"})
    if output == "table":
        _show(told)
        for node in filter(None, told["nodes"]):
            show_agent(node)
    else:
        show_data(told, output)


@command.command()
@_name
def down(name: str) -> None:
    """End a lab: every process and namespace of it."""
    where = place(name)
    pidfd = os.pidfd_open(where.pid())
    try:
        control.ask(where, {"op": "down"})
    except (InputError, OSError):  # it does not answer: its pid 1 takes all of it along
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    control.await_end(where, pidfd)
    print(f"lab {name} is down")


def _namespace(status: dict[str, Any], name: str) -> str:
    pods = {row["pod"]: row["namespace"] for row in status["pods"]}
    others: dict[str, str] = status["namespaces"]
    found = pods.get(name) or others.get(name)
    if found is None:
        raise InputError("", f"the lab runs no {name}; there are {', '.join([*sorted(pods), *sorted(others)])}")
    return str(found)


def _become(namespace: str, words: tuple[str, ...]) -> None:
    try:
        with netns.entered(namespace):
            os.execvp(words[0], words)  # noqa: S606 - the user's own command
    except (OSError, KernelError) as error:
        print(f"vallum: {words[0]}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    os._exit(127)


def _show(status: dict[str, Any]) -> None:
    if status["groups"]:
        rows = [
            [group["group"], group["router"], ", ".join(group["ranges"]), node, ", ".join(ranges)]
            for group in status["groups"]
            for node, ranges in (group["nodes"] or {"": []}).items()
        ]
        table("", ["group", "router", "ranges", "node", "node's ranges"], _once(rows))
    rows = [[row["pod"], row["node"], ", ".join(row["addresses"])] for row in status["pods"]]
    table("", ["pod", "node", "addresses"], rows)
    if status["outside"]:
        print(f"outside, at the router: {', '.join(status['outside'])}")


def _once(rows: list[list[str]]) -> list[list[str]]:
    """The columns of a group only where it begins."""
    return [
        ["", "", "", *row[3:]] if before and row[:3] == before[:3] else row
        for before, row in zip([None, *rows], rows, strict=False)
    ]
