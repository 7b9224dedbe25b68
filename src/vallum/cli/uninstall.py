"""`vallum uninstall`: off a node, or out of the API of a cluster."""

import asyncio
from pathlib import Path

import click

from vallum.agent.settings import Cni
from vallum.cli.agent import mask
from vallum.cli.node import SOCKET
from vallum.model.errors import InputError

_PATH = click.Path(path_type=Path)
_CNI = Cni()
_KINDS = ("nodestates", "blocks", "strays", "hosts", "blackouts", "topologies", "networks")
_OBJECTS = (
    "/apis/apps/v1/namespaces/kube-system/daemonsets/vallum",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/vallum",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/vallum",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/vallum-addresses",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/vallum-addresses",
    "/api/v1/namespaces/kube-system/serviceaccounts/vallum",
    *(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.vallum.dev" for kind in _KINDS),
)
"""What deploy/ holds, the agents first: they would go on publishing."""


@click.command("uninstall")
@click.option("--node", is_flag=True, help="Take everything off this node, whose agent has ended.")
@click.option("--force", is_flag=True, help="With --node: also when pods have their network from us.")
@click.option(
    "--kubeconfig", type=_PATH, help="Without --node: the cluster; KUBECONFIG if not said.", envvar="KUBECONFIG"
)
@click.option("--socket", type=_PATH, default=SOCKET, show_default=True)
@click.option("--mark-mask", default="0xffff0000", show_default=True, help="As the agent had it.")
@click.option("--cni-socket", type=_PATH, default=_CNI.socket, show_default=True)
@click.option("--cni-conf-dir", type=_PATH, default=_CNI.conf_dir, show_default=True)
@click.option("--cni-bin-dir", type=_PATH, default=_CNI.bin_dir, show_default=True)
@click.option("--state-dir", type=_PATH, default=_CNI.state_dir, show_default=True)
def command(
    node: bool,
    force: bool,
    kubeconfig: Path | None,
    socket: Path,
    mark_mask: str,
    cni_socket: Path,
    cni_conf_dir: Path,
    cni_bin_dir: Path,
    state_dir: Path,
) -> None:
    """Remove Vallum: tables, routes, links, files and configuration of a node, or its objects in a cluster.

    The cluster first (the agents end with their DaemonSet), then each node with --node. Other programs' rules stay.
    Exit 0 when nothing is left, 1 when something could not be removed.
    """
    if node:
        from vallum.agent.remove import remove  # noqa: PLC0415 - --help need not pay for it

        cni = Cni(cni_socket, cni_conf_dir, cni_bin_dir, state_dir)
        found = 0
        for line in remove(cni, socket, mask(mark_mask), force=force):
            print(f"removed {line}")
            found += 1
        print("nothing of ours is left here" if found else "there was nothing of ours here")
        return
    if kubeconfig is None:
        raise InputError("--kubeconfig", "say which cluster, or --node for what is on this node")
    for line in asyncio.run(_remove_objects(kubeconfig)):
        print(f"removed {line}")
    print("now run `vallum uninstall --node` on each node")


async def _remove_objects(kubeconfig: Path) -> list[str]:
    from vallum.sources.kube.client import Client  # noqa: PLC0415 - aiohttp takes 0.1 s to import
    from vallum.sources.kube.errors import ApiError, UnreachableError  # noqa: PLC0415
    from vallum.sources.kube.kubeconfig import from_kubeconfig  # noqa: PLC0415

    removed = []
    async with Client(from_kubeconfig(kubeconfig)) as client:
        for path in _OBJECTS:
            try:
                await client.delete(path, {"propagationPolicy": "Foreground"})
            except ApiError as error:
                if error.code != 404:
                    raise InputError(str(kubeconfig), str(error)) from error
            except UnreachableError as error:
                raise InputError(str(kubeconfig), str(error)) from error
            else:
                removed.append(path.rpartition("/")[2] + f" ({path.split('/')[-2]})")
    return removed
