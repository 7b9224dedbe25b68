"""A kubeconfig, read as kubectl reads it: the current context's cluster and user.

What needs a program or another protocol is refused by name (exec plugins, auth providers, proxies, passwords):
an agent cannot answer a prompt. Ignores the other contexts, and what only kubectl needs.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from vallum.model.errors import InputError, InputErrors
from vallum.sources.kube.access import Access, Pem
from vallum.sources.marks import Findings, Value
from vallum.sources.schema import Anything, Flag, ListOf, Record, Text, fields_of
from vallum.sources.yaml_text import documents

_REFUSED = {
    "exec": "runs a program for credentials, which an agent cannot; use a token, tokenFile or a client certificate",
    "auth-provider": "is gone from Kubernetes since 1.26; use a token, tokenFile or a client certificate",
    "username": "passwords are gone from Kubernetes since 1.19; use a token, tokenFile or a client certificate",
    "as": "impersonation is not done here; give a user that may do it itself",
}


def _url(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    return None if fine else f"`{text}` is no server; write one such as https://10.0.0.1:6443"


def _proxy(_: str) -> str:
    return "proxies are not used here; name a server that is reached directly"


_CLUSTER = Record(
    {
        "server": Text(_url),
        "certificate-authority": Text(),
        "certificate-authority-data": Text(),
        "insecure-skip-tls-verify": Flag(),
        "tls-server-name": Text(),
        "proxy-url": Text(_proxy),
        "disable-compression": Anything(),
        "extensions": Anything(),
    },
    required=("server",),
    strict=False,
    example="{server: https://10.0.0.1:6443}",
)
_USER = Record(
    {
        **{f"client-{what}{form}": Text() for what in ("certificate", "key") for form in ("", "-data")},
        "token": Text(),
        "tokenFile": Text(),
        "password": Anything(),
        **dict.fromkeys(_REFUSED, Anything()),
    },
    strict=False,
    example="{token: ...}",
)
_CONTEXT = Record({"cluster": Text(), "user": Text(), "namespace": Text()}, required=("cluster",), strict=False)


def _named(what: str, shape: Anything | Record) -> ListOf:
    return ListOf(Record({"name": Text(), what: shape}, required=("name",), strict=False, example="{name: mine, ...}"))


_FILE = Record(
    {
        "apiVersion": Text(),
        "kind": Text(),
        "current-context": Text(),
        "clusters": _named("cluster", Anything()),
        "contexts": _named("context", _CONTEXT),
        "users": _named("user", Anything()),
    },
    required=("current-context", "clusters", "contexts"),
    strict=False,
)


def from_kubeconfig(path: str | os.PathLike[str]) -> Access:
    """The access that the current context names. Raises InputErrors with file, line and column of all that is wrong."""
    shown = os.fspath(path)
    findings = Findings(shown)
    found = _Reading(findings, Path(shown).parent).access(_document(shown, findings))
    if found is None or findings.errors:
        raise InputErrors(tuple(findings.errors))
    return found


def _document(shown: str, findings: Findings) -> Value | None:
    try:
        text = Path(shown).read_text(encoding="utf-8")
    except OSError as error:
        findings.errors.append(InputError(shown, f"cannot be read: {error.strerror or error}"))
        return None
    except UnicodeDecodeError:
        findings.errors.append(InputError(shown, "is no text in UTF-8; name a kubeconfig"))
        return None
    value = next(documents(text, findings), None)
    if value is None:
        if not findings.errors:
            findings.errors.append(InputError(f"{shown}:1:1", "is empty; name a kubeconfig"))
        return None
    before = len(findings.errors)
    _FILE.inspect(value, "", findings)
    return value if len(findings.errors) == before else None


class _Reading:
    """Follows the names from the current context; notes what leads nowhere."""

    def __init__(self, findings: Findings, folder: Path) -> None:
        self._findings = findings
        self._folder = folder

    def access(self, file: Value | None) -> Access | None:
        if file is None:
            return None
        context = self._of(file, "contexts", "context", fields_of(file)["current-context"])
        if context is None:
            return None
        names = fields_of(context)
        cluster = self._of(file, "clusters", "cluster", names["cluster"])
        user = self._of(file, "users", "user", names["user"]) if names.get("user") else None
        if cluster is None or (user is None and names.get("user")):
            return None
        before = len(self._findings.errors)
        _CLUSTER.inspect(cluster, "cluster", self._findings)
        if user:
            _USER.inspect(user, "user", self._findings)
            self._refuse(user)
        if len(self._findings.errors) > before:
            return None
        return self._joined(fields_of(cluster), fields_of(user) if user else {}, _text(names.get("namespace")))

    def _joined(self, cluster: Mapping[str, Value], user: Mapping[str, Value], namespace: str | None) -> Access:
        skip = cluster.get("insecure-skip-tls-verify")
        token_file = user.get("tokenFile")
        certificate, key = (self._pem(user, f"client-{what}") for what in ("certificate", "key"))
        if (certificate is None) != (key is None):
            (name,) = {"client-certificate", "client-key"} - {each.removesuffix("-data") for each in user}
            self._findings.wrong(next(iter(user.values())).spot, f"user: `{name}` is missing; both or none are given")
        return Access(
            ((_text(cluster["server"]) or "").rstrip("/"),),
            self._pem(cluster, "certificate-authority"),
            certificate,
            key,
            _text(user.get("token")),
            self._folder / str(token_file.data) if token_file else None,
            _text(cluster.get("tls-server-name")),
            not (skip and skip.data),
            namespace or "default",
        )

    def _refuse(self, user: Value) -> None:
        for name, value in fields_of(user).items():
            if name in _REFUSED:
                self._findings.wrong(value.spot, f"user.{name}: {_REFUSED[name]}")

    def _of(self, file: Value, group: str, what: str, name: Value) -> Value | None:
        """The entry of this name in one of the three lists."""
        entries = dict(_entries(file, group, what))
        found = entries.get(str(name.data))
        if found is None:
            known = f"; there are {', '.join(sorted(entries))}" if entries else "; there are none"
            self._findings.wrong(name.spot, f"no {what} is called `{name.data}`{known}")
        return found

    def _pem(self, fields: Mapping[str, Value], name: str) -> Pem | None:
        """Inline data goes before a file, as in kubectl. Paths are relative to the kubeconfig."""
        inline = fields.get(f"{name}-data")
        if inline:
            try:
                return base64.b64decode(str(inline.data), validate=True)
            except binascii.Error:
                self._findings.wrong(inline.spot, f"{name}-data: is not base64; encode the PEM file with `base64 -w0`")
                return None
        named = fields.get(name)
        if named is None:
            return None
        path = self._folder / str(named.data)
        if not path.is_file():
            self._findings.wrong(named.spot, f"{name}: there is no file {path}")
        return path


def _entries(file: Value, group: str, what: str) -> Iterator[tuple[str, Value]]:
    listed = fields_of(file).get(group)
    for item in listed.data if listed and isinstance(listed.data, tuple) else ():
        fields = fields_of(item)
        if what in fields:
            yield str(fields["name"].data), fields[what]


def _text(value: Value | None) -> str | None:
    return str(value.data) if value and value.data is not None else None
