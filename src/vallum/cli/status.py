"""`vallum status`: what is enforced where, from the API of the cluster, or from one agent's local socket."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vallum.agent import nodestate
from vallum.agent.ask import ask
from vallum.agent.rollout import Row, policy_at, rollout
from vallum.cli.node import SOCKET
from vallum.cli.output import format_option, show_data, table
from vallum.model.errors import InputError


@click.command("status")
@click.option("--socket", "path", type=click.Path(path_type=Path), help=f"Ask this agent; usual place: {SOCKET}.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Ask the API of this cluster.")
@format_option
def command(path: Path | None, kubeconfig: Path | None, output: str) -> None:
    """What is enforced on which node, what is late and why; what was repaired and dropped.

    Of the whole cluster with --kubeconfig, as kubectl's plugin, or where KUBECONFIG is set; otherwise of this node.
    Exit 0 when all is enforced, 1 when something is late or wrong.
    """
    if path is not None and kubeconfig is not None:
        raise InputError("--socket", "speaks of one node and --kubeconfig of the cluster; give one of them")
    place = None if path is not None else kubeconfig or usual_kubeconfig()
    if place is None:
        _show_node(path or SOCKET, output)
    else:
        _show_cluster(place, output)


def usual_kubeconfig() -> Path | None:
    """Where kubectl would look, if this was called by kubectl or is told by the environment."""
    told = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if told:
        return Path(told)
    by_kubectl = Path(sys.argv[0]).name.startswith("kubectl-")
    return Path.home() / ".kube" / "config" if by_kubectl else None


def _show_node(path: Path, output: str) -> None:
    status = _ask(path)
    if output == "table":
        show(status)
    else:
        show_data(status, output)
    sys.exit(0 if status["healthy"] else 1)


def _ask(path: Path) -> dict[str, Any]:
    try:
        found = ask(path, {"op": "status"})
    except OSError as error:
        cure = "is one running? --kubeconfig FILE asks about the whole cluster"
        raise InputError(str(path), f"no agent answers here ({error.strerror}); {cure}") from error
    if not found:
        raise InputError(str(path), "the agent ended before it answered; ask again")
    return found


def show(status: dict[str, Any]) -> None:
    """Print one agent's status for people."""
    print(f"node {status['node']}: plane {status['plane']}, back end {status['backend']}, since {status['started']}")
    print(f"  holds revision {status['revision'] or 'none yet'} with {status.get('policies', 0)} policies; ", end="")
    print(f"{status['drops']} packets denied")
    _show_network(status["network"])
    if status["closed"]:
        print(f"  closed to whoever is no known pod: {', '.join(status['closed'])}")
    for fault in ("source", "kernel"):
        if status[fault]:
            print(f"  {fault}, since {status[f'{fault}_since']}: {status[fault]}")
    for problem in status["problems"]:
        print(f"  problem: {problem}")
    table("", ["pod", "link"], [[pod, link or "not attached"] for pod, link in sorted(status["pods"].items())])
    for repair in status["repairs"]:
        print(f"  {repair['at']} restored {repair['what']}: {repair['how']} by {repair['by']}")


def _show_network(network: dict[str, Any] | None) -> None:
    """How packets travel to other nodes; nothing where another program sees to that."""
    if not network:
        return
    for pool in network["pools"]:
        name = f"pool {pool['pool']}" if pool["pool"] else "pods elsewhere" if len(network["pools"]) > 1 else "pods"
        way = pool["backend"] + ("" if pool["backend"] == "hostgw" else f", encapsulation {pool['encapsulation']}")
        print(f"  {name}: {way}{', masqueraded' if pool['masquerade'] else ''}")
    if network["pools"]:
        by = f" and {', '.join(network['devices'])}" if network["devices"] else ""
        print(f"  to other nodes: {network['routes']} routes{by}; MTU of new pods {network['mtu'] or 'as the link'}")


def _show_cluster(kubeconfig: Path, output: str) -> None:
    nodes, states, policies = asyncio.run(_read(kubeconfig))
    rows = rollout(map(policy_at, policies), states, nodes)
    silent = [node for node in nodes if node not in states]
    if output == "table":
        _show_nodes(nodes, states)
        _show_policies(rows)
    else:
        found = [{"node": node, **states.get(node, {"ready": False})} for node in nodes]
        show_data({"nodes": found, "policies": [row.facts() for row in rows]}, output)
    fine = not silent and all(state["ready"] for state in states.values()) and not any(row.late for row in rows)
    sys.exit(0 if fine else 1)


async def _read(kubeconfig: Path) -> tuple[list[str], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    # aiohttp takes 0.1 s to import, which a question to a local socket need not pay
    from vallum.sources.kube.client import Client  # noqa: PLC0415
    from vallum.sources.kube.errors import ApiError, UnreachableError  # noqa: PLC0415
    from vallum.sources.kube.kubeconfig import from_kubeconfig  # noqa: PLC0415

    async with Client(from_kubeconfig(kubeconfig)) as client:
        try:
            nodes, policies = [
                (await client.get(path))["items"]
                for path in ("/api/v1/nodes", "/apis/networking.k8s.io/v1/networkpolicies")
            ]
            states = (await client.get(nodestate.path()))["items"]
        except (ApiError, UnreachableError) as error:
            raise InputError(str(kubeconfig), str(error)) from error
    names = sorted(node["metadata"]["name"] for node in nodes)
    return names, {state["metadata"]["name"]: state["status"] for state in states}, policies


def _show_nodes(nodes: list[str], states: Mapping[str, dict[str, Any]]) -> None:
    rows = []
    for node in nodes:
        state = states.get(node)
        if state is None:
            rows.append([node, "no agent has reported", "", "", "", "", ""])
            continue
        ready = "yes" if state["ready"] else "no"
        counts = [str(state.get(key, 0)) for key in ("pods", "repaired")]
        rows.append([node, ready, state["plane"], state["backend"], state["policyRevision"] or "none", *counts])
    table("", ["node", "ready", "plane", "back end", "revision", "pods", "repaired"], rows)
    for node in nodes:
        state = states.get(node, {})
        if state.get("lastError"):
            print(f"  {node}, since {state.get('lastErrorSince')}: {state['lastError']}")
        for problem in state.get("problems", ()):
            print(f"  {node}, problem: {problem}")
        if state.get("lastRepair"):
            print(f"  {node}, last repair: {state['lastRepair']}")


def _show_policies(rows: tuple[Row, ...]) -> None:
    shown = []
    for row in rows:
        late = "; ".join(f"{each.node} since {each.since}: {each.why}" for each in row.late)
        text = f"enforced on {row.enforced}/{row.nodes} nodes at revision {row.policy.revision}"
        shown.append([row.policy.name, text, late])
    table("", ["policy", "", "late"], shown)
