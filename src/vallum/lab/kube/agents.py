"""Our agent on a node of the test cluster: its flags, and who it is to the API server.

The one place that knows how an agent is started against a real cluster.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from vallum.lab.kube import layout
from vallum.lab.kube.certs import Authority
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.component import Component
from vallum.lab.kube.layout import NodeLayout

ACCOUNT = "system:serviceaccount:kube-system:vallum"
"""The user that the DaemonSet's pods are: RBAC binds this name, whichever way its holder proves to have it."""

_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:kube-system")


_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(layout.STATE / "bytecode")}
"""An installed agent has its bytecode beside it; one that compiles its modules anew takes 0.3 s longer to start."""

_DEPLOY = Path(__file__).parents[4] / "deploy"
_PARTS = ("crds.yaml", "rbac.yaml")


def manifests() -> Iterator[Manifest]:
    """What a cluster is given before the first agent starts: our kinds, and least rights for ACCOUNT."""
    for part in _PARTS:
        yield from yaml.safe_load_all((_DEPLOY / part).read_text(encoding="utf-8"))


def rights() -> tuple[str, ...]:
    """The words that start a program with just the rights that the DaemonSet gives its container."""
    daemon_set = yaml.safe_load((_DEPLOY / "daemonset.yaml").read_text(encoding="utf-8"))
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    kept = "".join(f",+{name.lower()}" for name in container["securityContext"]["capabilities"]["add"])
    return "setpriv", "--no-new-privs", f"--bounding-set=-all{kept}", "--inh-caps=-all", "--ambient-caps=-all"


def socket_of(node: NodeLayout) -> Path:
    """Where the node's agent answers."""
    return node.folder / "vallum" / "agent.sock"


def component(node: NodeLayout, authority: Authority, logs: Path, options: tuple[str, ...] = ()) -> Component:
    """The agent of a node, not started. `options` are added to its flags."""
    folder = node.folder / "vallum"
    folder.mkdir(parents=True, exist_ok=True)
    pair = authority.issue(f"{node.name}-vallum", ACCOUNT, _GROUPS)
    kubeconfig = authority.kubeconfig(folder / "kubeconfig", layout.server(), pair)
    flags = {
        "node": node.name,
        "source": "kube",
        "kubeconfig": kubeconfig,
        "plane": "nftables",
        "backend": "hostgw",
        "socket": socket_of(node),
        "cni-socket": folder / "cni.sock",
        "cni-conf-dir": node.cni_config,
        "cni-bin-dir": node.cni_plugins,
        "state-dir": folder / "state",
        "health": "127.0.0.1:9086",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = (*rights(), sys.executable, "-m", "vallum", "agent", "--cni", *words, *options)
    return Component(f"{node.name} vallum", command, logs / f"{node.name}-vallum.log", node.name, _BYTECODE)
