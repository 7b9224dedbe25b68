"""`vallum agent`: assembled in `agent.run`; here only words become settings."""

import asyncio
import logging
import sys
from pathlib import Path

import click

from vallum import dataplane, network
from vallum.agent.settings import IPAM, Cni, Kube, Settings, Travel
from vallum.cli.travel import Told, travel_options
from vallum.model.errors import InputError

_PLANES = [name for name in dataplane.PLANES if name != "memory"]  # which enforces nothing
_PATH = click.Path(path_type=Path)
_CNI = Cni()


@click.command("agent")
@click.option("--node", required=True, help="Name of the node, as in spec.nodeName.")
@click.option("--source", required=True, metavar="kube|folder:DIR", help="Where the world comes from.")
@click.option("--kubeconfig", type=_PATH, help="With --source kube: the API and who we are, if not as a pod.")
@click.option("--plane", type=click.Choice(["auto", *_PLANES]), default="auto", show_default=True)
@click.option("--backend", type=click.Choice([*network.BACKENDS, "none"]), default="hostgw", show_default=True)
@travel_options
@click.option("--socket", type=_PATH, default=Path("/run/vallum/agent.sock"), show_default=True)
@click.option("--mark-mask", default="0xffff0000", show_default=True, help="Bits of the conntrack mark that are ours.")
@click.option(
    "--unknown",
    type=click.Choice(["closed", "open"]),
    help="Addresses of the node's pod ranges that no known pod has; if not said: closed with --source kube, else open.",
)
@click.option("--health", metavar="ADDRESS:PORT", help="Serve /healthz and /readyz here.")
@click.option(
    "--cni/--no-cni",
    default=None,
    help="Serve the container runtime: wire its pods. If not said: with --source kube. Without, another plugin does.",
)
@click.option("--cni-socket", type=_PATH, default=_CNI.socket, show_default=True)
@click.option("--cni-conf-dir", type=_PATH, default=_CNI.conf_dir, show_default=True)
@click.option("--cni-bin-dir", type=_PATH, default=_CNI.bin_dir, show_default=True)
@click.option(
    "--cni-chain",
    default="",
    metavar="FILE",
    help="Protect the pods of another plugin: ours is appended to this conflist of the configuration folder.",
)
@click.option(
    "--ipam",
    type=click.Choice(IPAM),
    default=_CNI.ipam,
    show_default=True,
    help="Where pods get addresses: the node's podCIDRs, a ledger of this machine, or the cluster's networks.",
)
@click.option("--ledger", type=_PATH, default=_CNI.ledger, show_default=True, help="Not with --ipam ranges.")
@click.option("--state-dir", type=_PATH, default=_CNI.state_dir, show_default=True, help="What must outlive the agent.")
def command(
    node: str,
    source: str,
    kubeconfig: Path | None,
    plane: str,
    backend: str,
    travel: Told,
    socket: Path,
    mark_mask: str,
    unknown: str | None,
    health: str | None,
    cni: bool | None,
    cni_socket: Path,
    cni_conf_dir: Path,
    cni_bin_dir: Path,
    cni_chain: str,
    ipam: str,
    ledger: Path,
    state_dir: Path,
) -> None:
    """Enforce the policies of one node, in this network namespace, until SIGTERM.

    The kernel keeps enforcing when the agent stops, is killed or restarts.
    """
    from vallum.agent.run import Agent  # noqa: PLC0415 - --help need not pay for it

    world = _source(source, kubeconfig)
    serves = bool(cni_chain) or (isinstance(world, Kube) if cni is None else cni)
    _check_ipam(ipam, world, wires=serves and not cni_chain)
    settings = Settings(
        node,
        world,
        "nftables" if plane == "auto" else plane,
        backend,
        socket,
        mark_mask=mask(mark_mask),
        close_unknown=isinstance(world, Kube) if unknown is None else unknown == "closed",
        cni=Cni(cni_socket, cni_conf_dir, cni_bin_dir, state_dir, cni_chain, ipam, ledger) if serves else None,
        health=_place(health) if health else None,
        travel=_travel(travel, world, wires=serves and not cni_chain),
    )

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="vallum: %(message)s")

    async def run() -> None:
        await Agent(settings).run()

    asyncio.run(run())


def _source(source: str, kubeconfig: Path | None) -> Path | Kube:
    kind, _, folder = source.partition(":")
    if source == "kube":
        return Kube(kubeconfig)
    if kind != "folder" or not folder:
        raise InputError("--source", f"kube or folder:DIR, got {source!r}")
    if kubeconfig is not None:
        raise InputError("--kubeconfig", f"belongs to --source kube, got --source {source}")
    return Path(folder)


def _check_ipam(ipam: str, world: Path | Kube, *, wires: bool) -> None:
    if ipam != "ranges" and not wires:
        raise InputError("--ipam", f"{ipam} gives addresses to pods that are wired here; add --cni, or leave it out")
    if ipam == "cluster" and not isinstance(world, Kube):
        raise InputError("--ipam", "cluster needs --source kube; for a machine without one there is --ipam ledger")


def _travel(told: Told, world: Path | Kube, *, wires: bool) -> Travel:
    """Whoever wires the pods of a cluster sees to it that they reach what is outside; another plugin has a way."""
    usual = isinstance(world, Kube) and wires
    return Travel(**told | {"masquerade": usual if told["masquerade"] is None else told["masquerade"]})


def _place(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise InputError("--health", f"an address and a port such as 127.0.0.1:9086, got {text!r}")
    return address.strip("[]"), int(port)


def mask(text: str) -> int:
    """The number that an option says. Raises InputError."""
    try:
        return int(text, 0)
    except ValueError as error:
        raise InputError("--mark-mask", f"a number such as 0xffff0000, got {text!r}") from error
