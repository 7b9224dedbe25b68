"""One node: containerd, kubelet and kube-proxy, their configuration and flags, in the node's network namespace.

Everything they keep is under the node's folder, since two nodes share one machine; what has a fixed place (the
kubelet's device plugins, /var/log/containers) lands in the sandbox's layer over /var.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vallum.lab.kube import images, layout
from vallum.lab.kube.binaries import Binaries
from vallum.lab.kube.certs import Authority, Pair
from vallum.lab.kube.component import Component
from vallum.lab.kube.layout import NodeLayout

PROXY_MODES = ("nftables", "iptables")

_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
oom_score = 0
disabled_plugins = [{without}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Lowering a score needs CAP_SYS_RESOURCE; without it each sandbox would die with "can't get final child's PID".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{configuration}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
_WITHOUT = ("aufs", "btrfs", "devmapper", "zfs")


@dataclass(frozen=True, slots=True)
class Node:
    """The programs of one node, by the names that tests use."""

    layout: NodeLayout
    containerd: Component
    kubelet: Component
    proxy: Component

    def proxy_mode(self, mode: str) -> None:
        """Write kube-proxy's configuration for a mode; it counts from its next start."""
        _write(_proxy_file(self.layout), _proxy(self.layout, mode))


def prepare(node: NodeLayout, binaries: Binaries, authority: Authority, cgroup: str, logs: Path) -> Node:
    """Write what the programs read. Nothing is started."""
    for folder in (node.kubelet, node.kubelet / "plugins"):
        folder.mkdir(parents=True)
    without = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in _WITHOUT)
    config = node.folder / "containerd.toml"
    config.write_text(
        _CONTAINERD.format(
            folder=node.folder,
            socket=node.containerd,
            without=without,
            pause=images.PAUSE,
            plugins=node.cni_plugins,
            configuration=node.cni_config,
        ),
        encoding="utf-8",
    )
    (node.folder / "resolv.conf").write_text("", encoding="utf-8")  # the machine's own servers are not ours to ask
    addresses = tuple(str(address) for address in node.addresses)
    own = authority.issue(node.name, f"system:node:{node.name}", ("system:nodes",), addresses)
    _write(node.folder / "kubelet.yaml", _kubelet(node, authority, own, cgroup))
    made = Node(
        node,
        _component(node, "containerd", ("containerd", "--config", str(config)), logs),
        _component(node, "kubelet", (binaries.path("kubelet"), *_kubelet_flags(node, authority, own)), logs),
        _component(node, "kube-proxy", (binaries.path("kube-proxy"), f"--config={_proxy_file(node)}"), logs),
    )
    proxy = authority.issue(f"{node.name}-proxy", "system:kube-proxy")
    authority.kubeconfig(node.folder / "proxy.kubeconfig", layout.server(), proxy)
    return made


def manifest(node: NodeLayout) -> dict[str, Any]:
    """The Node object with its pod ranges, made before the kubelet registers, so that they never change."""
    ranges = [str(network) for network in node.pod_ranges]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
    }


def _component(node: NodeLayout, name: str, words: tuple[str, ...], logs: Path) -> Component:
    return Component(f"{node.name} {name}", words, logs / f"{node.name}-{name}.log", node.name)


def _kubelet_flags(node: NodeLayout, authority: Authority, own: Pair) -> tuple[str, ...]:
    kubeconfig = authority.kubeconfig(node.folder / "kubelet.kubeconfig", layout.server(), own)
    flags = {
        "config": node.folder / "kubelet.yaml",
        "kubeconfig": kubeconfig,
        "root-dir": node.kubelet,
        "cert-dir": node.folder / "pki",
        "hostname-override": node.name,
        "node-ip": layout.joined(node.addresses),
    }
    return tuple(f"--{name}={value}" for name, value in flags.items())


def _kubelet(node: NodeLayout, authority: Authority, own: Pair, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "tlsCertFile": str(own.certificate),
        "tlsPrivateKeyFile": str(own.key),
        "authentication": {
            "x509": {"clientCAFile": str(authority.own.certificate)},
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [str(layout.DNS_SERVICE)],
        "resolvConf": str(node.folder / "resolv.conf"),
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(node.kubelet / "plugins" / "volume"),
        # The machine may be nearly full or small: that is not what is tested here.
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def _proxy(node: NodeLayout, mode: str) -> dict[str, Any]:
    unlimited = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": str(node.folder / "proxy.kubeconfig")},
        "hostnameOverride": node.name,
        "clusterCIDR": layout.joined(layout.PODS),
        "conntrack": unlimited,  # the table's size is the machine's, not a namespace's
    }


def _proxy_file(node: NodeLayout) -> Path:
    return node.folder / "proxy.yaml"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
