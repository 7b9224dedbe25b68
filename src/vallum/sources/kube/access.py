"""Where the API is and who we are. Data only, frozen; files are read by whoever uses them, because they change.

In a pod the API's address is in the environment and the rest in files that the kubelet renews.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vallum.model.errors import InputError

Pem = bytes | Path
"""A certificate or key: its text, or the file that has it and may be replaced at any time."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one cluster.

    Attributes:
        servers: endpoints of the same API, such as `https://10.0.0.1:6443`, in the order of trying.
        authority: certificates of those who may sign the servers'; None: those of this machine.
        certificate: ours, with `key`.
        token: sent with each request; `token_file` holds it where it is renewed.
        server_name: the name in the servers' certificates, where it is not their address.
        verify: False trusts any server.
        namespace: ours.
    """

    servers: tuple[str, ...]
    authority: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    token: str | None = None
    token_file: Path | None = None
    server_name: str | None = None
    verify: bool = True
    namespace: str = "default"


def in_cluster(environ: Mapping[str, str] = os.environ, account: Path = _ACCOUNT) -> Access:
    """The access of a pod with a service account. Raises InputError where this is none."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    cure = "run in a pod with a service account, or name a kubeconfig"
    if not host:
        raise InputError("KUBERNETES_SERVICE_HOST", f"is not set, so this is no pod; {cure}")
    for name in ("token", "ca.crt"):
        if not (account / name).is_file():
            raise InputError(str(account / name), f"is not there; {cure} (automountServiceAccountToken may be off)")
    return Access(
        (f"https://{f'[{host}]' if ':' in host else host}:{port}",),
        authority=account / "ca.crt",
        token_file=account / "token",
        namespace=_text(account / "namespace") or "default",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
