"""An authority of the cluster's own, the certificates it signs, and kubeconfig files, by openssl.

Everything is made anew for each cluster and ends with it. Elliptic keys: thirty certificates cost half a second.
"""

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from vallum.model.errors import KernelError

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs for one cluster. `folder` gets all files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self.own = self._pair("ca")
        _openssl("req", "-x509", *_CURVE, *_files(self.own), "-subj", "/CN=vallum-kube", "-days", "3650")

    def issue(self, name: str, user: str, groups: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> Pair:
        """A certificate that says who its holder is to a server, and with `addresses` (or names) to clients too."""
        pair = self._pair(name)
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        extensions = ["-addext", f"extendedKeyUsage=clientAuth{',serverAuth' if addresses else ''}"]
        extensions += ["-addext", "basicConstraints=critical,CA:FALSE"]
        if addresses:
            kinds = (("DNS" if text.replace(".", "").isalpha() else "IP", text) for text in addresses)
            extensions += ["-addext", "subjectAltName=" + ",".join(f"{kind}:{text}" for kind, text in kinds)]
        signer = ("-CA", str(self.own.certificate), "-CAkey", str(self.own.key))
        _openssl("req", "-x509", *_CURVE, *_files(pair), "-subj", subject, "-days", "365", *extensions, *signer)
        return pair

    def signing_key(self, name: str) -> Pair:
        """A bare key pair; the public half stands where a certificate would."""
        pair = self._pair(name)
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pair.key))
        _openssl("ec", "-in", str(pair.key), "-pubout", "-out", str(pair.certificate))
        return pair

    def kubeconfig(self, path: Path, server: str, pair: Pair) -> Path:
        """A kubeconfig with everything in it, so that it can be copied."""
        cluster = {"server": server, "certificate-authority-data": _data(self.own.certificate)}
        user = {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kube", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "kube", "context": {"cluster": "kube", "user": "user"}}],
            "current-context": "kube",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def _pair(self, name: str) -> Pair:
        return Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")


def _files(pair: Pair) -> tuple[str, ...]:
    return "-out", str(pair.certificate), "-keyout", str(pair.key)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelError(f"openssl {words[0]}: {done.stderr.strip()}")
