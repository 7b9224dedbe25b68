"""The Kubernetes API for tests: objects as plain dictionaries, one connection a call, a client certificate.

Blocking and small on purpose; what an agent uses is `sources`, and a test should not see the world through its eyes.
"""

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from vallum.lab.kube.component import until
from vallum.model.errors import KernelError

Manifest = dict[str, Any]

_FIELD_MANAGER = "vallum-lab"
_ACCOUNT = 90.0
"""Seconds that the controller-manager has for a service account; it takes one, and on a busy machine ten."""


class ApiError(KernelError):
    """The API server refused. `code` is HTTP's."""

    def __init__(self, operation: str, code: int, message: str) -> None:
        super().__init__(f"{operation}: {code} {message}")
        self.code = code


class Api:
    """One user's view of the API. Kinds are looked up by discovery, once each."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self._host, self._port = address.hostname or "", address.port
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads files only
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}

    def connection(self) -> http.client.HTTPSConnection:
        """A connection of one's own, for those who count milliseconds or send thousands of requests."""
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=30)

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """One exchange; JSON is decoded, other text comes as it is. Raises ApiError, OSError."""
        connection = self.connection()
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        json_like = "json" in (answer.headers.get("Content-Type") or "")
        content = json.loads(text) if json_like else text
        if answer.status >= http.client.BAD_REQUEST:
            message = content.get("message", "") if isinstance(content, dict) else text
            raise ApiError(f"{method} {path}", answer.status, message)
        return content

    def ready(self) -> bool:
        """Whether the server says so of itself."""
        try:
            return bool(self.request("GET", "/readyz") == "ok")
        except (OSError, http.client.HTTPException, ApiError):
            return False

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create or change each, in this order, by server-side apply. A namespace is ready for pods afterwards."""
        for manifest in manifests:
            path = self._path(manifest["apiVersion"], manifest["kind"], *_name(manifest))
            query = urlencode({"fieldManager": _FIELD_MANAGER, "force": "true"})
            self.request("PATCH", f"{path}?{query}", manifest, "application/apply-patch+yaml")
            if manifest["kind"] == "Namespace":
                self.await_account(manifest["metadata"]["name"])

    def await_account(self, namespace: str) -> None:
        """Wait for the default service account, which the controller-manager makes; pods are refused before."""
        until(
            lambda: self.find("v1", "ServiceAccount", "default", namespace) is not None,
            _ACCOUNT,
            lambda: f"namespace {namespace} has no service account",
        )

    def get(self, version: str, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """One object. Raises ApiError, code 404 when there is none."""
        found: Manifest = self.request("GET", self._path(version, kind, name, namespace))
        return found

    def find(self, version: str, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """One object or None."""
        try:
            return self.get(version, kind, name, namespace)
        except ApiError as error:
            if error.code != http.client.NOT_FOUND:
                raise
            return None

    def list(self, version: str, kind: str, namespace: str | None = None) -> list[Manifest]:
        """All objects of a kind, in one namespace or everywhere."""
        found: list[Manifest] = self.request("GET", self._path(version, kind, None, namespace))["items"]
        return found

    def merge(self, version: str, kind: str, name: str, change: Manifest, namespace: str | None = None) -> Manifest:
        """Change some fields (RFC 7396: null removes)."""
        path = self._path(version, kind, name, namespace)
        changed: Manifest = self.request("PATCH", path, change, "application/merge-patch+json")
        return changed

    def delete(
        self, version: str, kind: str, name: str, namespace: str | None = None, grace: int | None = None
    ) -> None:
        """Ask for deletion; what is gone already is fine."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            self.request("DELETE", self._path(version, kind, name, namespace), options)
        except ApiError as error:
            if error.code != http.client.NOT_FOUND:
                raise

    def _path(self, version: str, kind: str, name: str | None, namespace: str | None) -> str:
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if kind not in self._kinds.setdefault(version, {}):
            resources = self.request("GET", base)["resources"]
            plain = [each for each in resources if "/" not in each["name"]]
            self._kinds[version] = {each["kind"]: (each["name"], each["namespaced"]) for each in plain}
        if kind not in self._kinds[version]:
            raise ApiError(f"{version} {kind}", http.client.NOT_FOUND, "the server has no such kind")
        plural, namespaced = self._kinds[version][kind]
        if namespaced and name is not None:
            namespace = namespace or "default"
        inside = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"{base}{inside}/{plural}" + (f"/{name}" if name else "")


def _name(manifest: Manifest) -> tuple[str, str | None]:
    metadata = manifest["metadata"]
    return metadata["name"], metadata.get("namespace")
