"""etcd, API server, controller-manager and scheduler: their flags. They run in the sandbox's own namespace.

Fixed ports are fine there: nobody else lives in it. Data is never flushed: a cluster lasts as
long as its sandbox.
"""

from pathlib import Path

from vallum.lab.kube import layout
from vallum.lab.kube.binaries import Binaries
from vallum.lab.kube.certs import Authority
from vallum.lab.kube.component import Component

_ETCD = "http://127.0.0.1:2379"
_ISSUER = "https://kubernetes.default.svc"
_FOLDER = layout.STATE / "control"


def components(binaries: Binaries, authority: Authority, logs: Path) -> tuple[Component, ...]:
    """In the order of starting."""
    _FOLDER.mkdir(parents=True)
    signing = authority.signing_key("service-account")
    commands = {
        "etcd": _etcd(),
        "kube-apiserver": _apiserver(authority, str(signing.key), str(signing.certificate)),
        "kube-controller-manager": _controller_manager(authority, str(signing.key)),
        "kube-scheduler": _scheduler(authority),
    }
    return tuple(
        Component(name, (binaries.path(name), *_flags(flags)), logs / f"{name}.log") for name, flags in commands.items()
    )


def _flags(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _etcd() -> dict[str, str]:
    peers = "http://127.0.0.1:2380"
    return {
        "name": "control",
        "data-dir": str(_FOLDER / "etcd"),
        "unsafe-no-fsync": "true",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"control={peers}",
        "log-level": "warn",
    }


def _apiserver(authority: Authority, signing: str, verifying: str) -> dict[str, str]:
    own_names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    own = [*layout.CONTROL, *(network[1] for network in layout.SERVICES), "127.0.0.1"]
    serving = authority.issue("apiserver", "kube-apiserver", (), (*own_names, *map(str, own)))
    client = authority.issue("apiserver-kubelet", "kube-apiserver", ("system:masters",))
    return {
        "etcd-servers": _ETCD,
        "bind-address": "::",
        "advertise-address": str(layout.CONTROL[0]),
        "secure-port": str(layout.API_PORT),
        "client-ca-file": str(authority.own.certificate),
        "tls-cert-file": str(serving.certificate),
        "tls-private-key-file": str(serving.key),
        "kubelet-certificate-authority": str(authority.own.certificate),
        "kubelet-client-certificate": str(client.certificate),
        "kubelet-client-key": str(client.key),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": _ISSUER,
        "service-account-key-file": verifying,
        "service-account-signing-key-file": signing,
        "service-cluster-ip-range": layout.joined(layout.SERVICES),
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "profiling": "false",
    }


def _controller_manager(authority: Authority, signing: str) -> dict[str, str]:
    config = _kubeconfig(authority, "controller-manager", "system:kube-controller-manager")
    return {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "service-account-private-key-file": signing,
        "root-ca-file": str(authority.own.certificate),
        "use-service-account-credentials": "true",
        "allocate-node-cidrs": "false",  # they would come in the order of arrival
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }


def _scheduler(authority: Authority) -> dict[str, str]:
    config = _kubeconfig(authority, "scheduler", "system:kube-scheduler")
    return {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }


def _kubeconfig(authority: Authority, name: str, user: str) -> str:
    return str(authority.kubeconfig(_FOLDER / f"{name}.kubeconfig", layout.server(), authority.issue(name, user)))
