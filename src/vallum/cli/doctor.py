"""`vallum doctor`: what is wrong between nodes, as seen from one of them, from all of a lab, or as a cluster's API has
it.
"""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from vallum.agent import nodestate
from vallum.agent.doctor import ERROR, Finding, published
from vallum.cli.node import SOCKET, ask_node
from vallum.cli.output import format_option, show_data, wants_colour
from vallum.cli.status import usual_kubeconfig
from vallum.model.errors import InputError

_COLOURS = {ERROR: "red"}


@click.command("doctor")
@click.option("--socket", type=click.Path(path_type=Path), help=f"The agent of this node, if not at {SOCKET}.")
@click.option("--lab", is_flag=False, flag_value="default", metavar="[NAME]", help="All nodes of a lab.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="What all nodes of this cluster have published.")
@format_option
def command(socket: Path | None, lab: str | None, kubeconfig: Path | None, output: str) -> None:
    """Say in words what is wrong with the ways between nodes, and what would cure it.

    The agent of this node sends echo requests of every size to all other nodes, on the link and through its tunnels,
    and looks at what its kernel is set to. Nothing is changed. With --lab every node does. With --kubeconfig, as
    kubectl's plugin, or where KUBECONFIG is set: what the agents have published, and the examination of this node if an
    agent answers here.

    Exit 0 when nothing is wrong, 1 with findings.
    """
    if lab is not None:
        if socket is not None or kubeconfig is not None:
            raise InputError("--lab", "a lab has sockets and nodes of its own; leave out --socket and --kubeconfig")
        told = _ask_lab(lab)
    elif place := kubeconfig or (None if socket is not None else usual_kubeconfig()):
        told = asyncio.run(_ask_cluster(place))
        if (socket or SOCKET).exists():
            told = _merged([*told, ask_node(socket or SOCKET, {"op": "doctor"})])
    else:
        told = [ask_node(socket or SOCKET, {"op": "doctor"})]
    findings = [finding for each in told for finding in each["findings"]]
    if output == "table":
        _show(told, findings)
    else:
        show_data({"nodes": told}, output)
    sys.exit(1 if findings else 0)


def _ask_lab(name: str) -> list[dict[str, Any]]:
    from vallum.lab import control  # noqa: PLC0415 - asking an agent need not wait for the lab's imports
    from vallum.lab.place import place  # noqa: PLC0415

    told = control.ask(place(name), {"op": "doctor"})["nodes"]
    return [_answer(node, each) for node, each in told.items()]


def _answer(node: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """An agent that does not answer, or cannot tell, is a finding."""
    if "findings" in told:
        return dict(told)
    text = str(told.get("error", "its agent does not answer"))
    finding = Finding("no-agent", ERROR, node, "", text, "see the log of the agent and whether it runs")
    return {"node": node, "findings": [finding.facts()], "tried": [], "untried": []}


async def _ask_cluster(kubeconfig: Path) -> list[dict[str, Any]]:
    # as in status: aiohttp is slow to import
    from vallum.sources.kube.client import Client  # noqa: PLC0415
    from vallum.sources.kube.errors import ApiError, UnreachableError  # noqa: PLC0415
    from vallum.sources.kube.kubeconfig import from_kubeconfig  # noqa: PLC0415

    async with Client(from_kubeconfig(kubeconfig)) as client:
        try:
            nodes = (await client.get("/api/v1/nodes"))["items"]
            states = (await client.get(nodestate.path()))["items"]
        except (ApiError, UnreachableError) as error:
            raise InputError(str(kubeconfig), str(error)) from error
    known = {state["metadata"]["name"]: state["status"] for state in states}
    names = sorted(node["metadata"]["name"] for node in nodes)
    untried = "its ways to other nodes; run `vallum doctor` there"
    return [
        {
            "node": name,
            "findings": [finding.facts() for finding in published(name, known.get(name))],
            "tried": [],
            "untried": [untried],
        }
        for name in names
    ]


def _merged(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last word about each node: what its agent says now stands for what it published before."""
    return list({each["node"]: each for each in told}.values())


def _show(told: Iterable[Mapping[str, Any]], findings: list[dict[str, Any]]) -> None:
    """A line each, as compilers write, and a count."""
    for each in findings:
        word = click.style(each["level"], fg=_COLOURS.get(each["level"], "yellow"), bold=True)
        level = word if wants_colour() else each["level"]
        cure = f"; {each['cure']}" if each["cure"] else ""
        click.echo(f"{each['node']}: {level}: {each['text']}{cure} [{each['id']}]")
    tried = 0
    for node in told:
        tried += len(node["tried"])
        for words in node["untried"]:
            click.echo(f"{node['node']}: not tried: {words}")
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "nothing found"
    print(f"vallum: {count}; {tried} way{'s' * (tried != 1)} between nodes tried", file=sys.stderr)
