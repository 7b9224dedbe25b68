"""Who wires the pods of a test cluster: we, or the reference bridge plugin with our agents beside it.

One place for what the tests of a change of hands and whole runs beside the plugin share. `asked` reads two variables of
the environment, so that one suite runs on each kind of cluster. Ignores what is tested there.
"""

import json
import os
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kube import steps
from vallum.lab.kube import agents, node
from vallum.lab.kube.binaries import Binaries
from vallum.lab.kube.cluster import KubeCluster, KubeSettings
from vallum.lab.kube.component import Component
from vallum.lab.kube.layout import NodeLayout

REFERENCE = "50-reference.conflist"
BRIDGE = "cni0"
OURS = "ours"
MODES = {
    "found": ("--no-cni", "--backend", "none"),
    "chained": ("--cni-chain", REFERENCE, "--backend", "none"),
}
"""The ways to guard pods that another plugin wires, found from the API or behind it, and the agent's flags for each."""

CHAINS = {OURS: "vallum portmap bandwidth", "found": "bridge portmap", "chained": "bridge portmap vallum"}
"""The plugins that attach a pod, in order."""

_RESULTS = Path("/var/lib/cni/results")
"""Of libcni, for all nodes of the sandbox."""

_WIRING, _PROXY = "VALLUM_KUBE_WIRING", "VALLUM_KUBE_PROXY"


@dataclass(frozen=True, slots=True)
class Asked:
    """A kind of cluster: `wiring` is OURS or one of MODES, `proxy` the mode of every kube-proxy."""

    wiring: str
    proxy: str


def asked(environment: Mapping[str, str] = os.environ) -> Asked:
    """What the environment asks for; ours and nftables where it says nothing. Raises pytest.UsageError."""
    return Asked(
        _one_of(_WIRING, (OURS, *MODES), environment),
        _one_of(_PROXY, node.PROXY_MODES, environment),
    )


def _one_of(name: str, choices: tuple[str, ...], environment: Mapping[str, str]) -> str:
    value = environment.get(name) or choices[0]
    if value not in choices:
        raise pytest.UsageError(f"{name} is one of {', '.join(choices)}, got {value!r}")
    return value


def cluster(kind: Asked, logs: Path, binaries: Binaries) -> KubeCluster:
    """A cluster of this kind, not up. Beside the plugin its agents start with `guard`."""
    cni = "vallum" if kind.wiring == OURS else "bridge"
    return KubeCluster(KubeSettings(cni=cni, proxy=kind.proxy, logs=logs), binaries)


def guard(kube: KubeCluster, wiring: str) -> None:
    """Where the plugin wires: start our agents beside it and wait until all is well. Nothing where we wire."""
    if wiring == OURS:
        return
    kube.api.apply(agents.manifests())
    for place in kube.layouts:
        kube.agents[place.name] = beside(agents.component(place, kube.authority, kube.settings.logs), wiring)
        kube.agents[place.name].start()
    for place in kube.layouts:
        steps.healthy(kube, place.name)
        if wiring == "chained":
            steps.until(lambda place=place: chained(place), steps.HELD, lambda: "no configuration behind the plugin")


def beside(agent: Component, wiring: str) -> Component:
    """An agent that wires no pods and guards those of the plugin; not started."""
    words = tuple(word for word in agent.words if word != "--cni")
    return replace(agent, words=(*words, *MODES[wiring]), _process=None)


def chained(place: NodeLayout) -> bool:
    """Whether the runtime of a node calls us behind the plugin."""
    return any(place.cni_config.glob("00-vallum-*"))


def plugins() -> dict[str, tuple[str, ...]]:
    """Which plugins attached each pod, in order, by `namespace/name`: as the runtimes keep it until they detach it."""
    found = {}
    for path in _RESULTS.iterdir():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["ifName"] != "lo":
            told, chain = dict(kept["cniArgs"]), json.loads(b64decode(kept["config"]))["plugins"]
            name = f"{told['K8S_POD_NAMESPACE']}/{told['K8S_POD_NAME']}"
            found[name] = tuple(each["type"] for each in chain)
    return found


def proxied(kube: KubeCluster, name: str, address: str) -> set[str]:
    """The modes of kube-proxy of which a node has rules that name this address of a Service."""
    listings = {"nftables": ["nft", "list", "table", "ip", "kube-proxy"], "iptables": ["iptables-save", "-t", "nat"]}
    return {mode for mode, words in listings.items() if address in kube.run_on(name, words).out}
