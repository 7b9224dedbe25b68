"""Where the API is said to be: the environment of a pod, or a kubeconfig; and the words for what is wrong there."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vallum.model.errors import InputError, InputErrors
from vallum.sources.kube.access import Access, in_cluster
from vallum.sources.kube.kubeconfig import from_kubeconfig

ENVIRON = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
PEM = b"-----BEGIN CERTIFICATE-----\n"
TWO = """\
apiVersion: v1
kind: Config
current-context: here
clusters:
- name: one
  cluster:
    server: https://10.0.0.1:6443/
    certificate-authority: pki/ca.crt
    tls-server-name: kubernetes
- name: other
  cluster: {server: "https://[fd00::1]:6443", insecure-skip-tls-verify: true}
contexts:
- name: here
  context: {cluster: one, user: me, namespace: shop}
- name: there
  context: {cluster: other, user: cloud}
users:
- name: me
  user: {client-certificate: me.crt, client-key: me.key, tokenFile: token}
- name: cloud
  user:
    exec: {command: cloud-login}
"""


@pytest.fixture
def account(tmp_path: Path) -> Path:
    for name, text in (("token", "t"), ("ca.crt", "c"), ("namespace", "kube-system\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_pod_finds_the_api_in_its_environment_and_its_account(account: Path):
    found = in_cluster(ENVIRON, account)
    assert found == Access(
        ("https://10.96.0.1:6443",),
        authority=account / "ca.crt",
        token_file=account / "token",
        namespace="kube-system",
    )
    assert in_cluster(ENVIRON | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, account).servers == ("https://[fd00::1]:6443",)


def test_who_is_no_pod_is_told_what_to_do(account: Path):
    with pytest.raises(
        InputError, match=r"KUBERNETES_SERVICE_HOST: is not set, so this is no pod; .* name a kubeconfig"
    ):
        in_cluster({}, account)
    (account / "token").unlink()
    with pytest.raises(InputError, match=r"token: is not there; .*automountServiceAccountToken may be off"):
        in_cluster(ENVIRON, account)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "pki").mkdir()
    for name in ("pki/ca.crt", "me.crt", "me.key"):
        (tmp_path / name).write_bytes(PEM)
    (tmp_path / "config").write_text(TWO)
    return tmp_path / "config"


def test_the_current_context_is_read_and_paths_are_relative_to_the_file(config: Path):
    assert from_kubeconfig(config) == Access(
        ("https://10.0.0.1:6443",),
        config.parent / "pki/ca.crt",
        config.parent / "me.crt",
        config.parent / "me.key",
        token_file=config.parent / "token",
        server_name="kubernetes",
        namespace="shop",
    )


def test_inline_data_goes_before_files(config: Path):
    data = base64.b64encode(PEM).decode()
    body = msgspec.yaml.decode(TWO)
    body["clusters"][0]["cluster"]["certificate-authority-data"] = data
    body["users"][0]["user"] = {"client-certificate-data": data, "client-key-data": data, "token": "secret"}
    config.write_bytes(msgspec.json.encode(body))
    found = from_kubeconfig(config)
    assert (found.authority, found.certificate, found.key, found.token) == (PEM, PEM, PEM, "secret")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("current-context: here", "current-context: there", "22:11: user.exec: runs a program for credentials"),
        ("current-context: here", "current-context: away", "3:18: no context is called `away`; there are here, there"),
        ("current-context: here\n", "", "`current-context` is missing"),
        ("cluster: one,", "cluster: two,", "no cluster is called `two`; there are one, other"),
        ("user: me,", "user: you,", "no user is called `you`; there are cloud, me"),
        (
            "https://10.0.0.1:6443/",
            "10.0.0.1:6443",
            "7:13: cluster.server: `10.0.0.1:6443` is no server; write one such as",
        ),
        ("server: https://10.0.0.1:6443/", "sever: https://x", "7:5: cluster: unknown field `sever`; did you mean"),
        ("pki/ca.crt", "pki/cb.crt", "8:28: certificate-authority: there is no file "),
        ("certificate-authority: pki/ca.crt", "certificate-authority-data: '%'", "is not base64"),
        ("client-key: me.key, ", "", "`client-key` is missing; both or none are given"),
        ("tokenFile: token", "username: me", "user.username: passwords are gone from Kubernetes"),
        ("tokenFile: token", "as: root", "user.as: impersonation is not done here"),
        ("tls-server-name: kubernetes", "proxy-url: http://x", "cluster.proxy-url: proxies are not used here"),
        ("clusters:", "clusters: [", "config:"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(config: Path, old: str, new: str, said: str):
    assert old in TWO
    config.write_text(TWO.replace(old, new, 1))
    with pytest.raises(InputErrors) as found:
        from_kubeconfig(config)
    assert said in str(found.value)
    assert str(found.value).startswith(f"{config}:")


@pytest.mark.parametrize(("content", "said"), [(b"", "is empty; name a kubeconfig"), (b"\xff", "is no text in UTF-8")])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, content: Any, said: str):
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(InputErrors, match=said):
        from_kubeconfig(tmp_path / "config")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputErrors, match="config: cannot be read: No such file"):
        from_kubeconfig(tmp_path / "config")
