"""What a runtime may ask and how: every wrong input has the specification's code and says what would be right."""

import json
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.cni.config import End, Order, read, version_of
from vallum.cni.result import VERSIONS, CniError, Code
from vallum.model.objects import PodId

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c0ffee",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/web",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1",
}
CONFIG = {"cniVersion": "1.0.0", "name": "vallum", "type": "vallum"}
RESULT = {
    "interfaces": [
        {"name": "vp1", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "sandbox": "/run/netns/web", "mtu": 1400},
    ],
    "ips": [{"address": "10.244.1.2/32", "interface": 1}, {"address": "fd00::2/128"}],
}


def order(environment: dict[str, str] | None = None, **config: Any) -> Order:
    return read(ENVIRONMENT | (environment or {}), json.dumps(CONFIG | config).encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_an_add_is_read_in_every_version(version: str) -> None:
    runtime = {"ips": ["10.244.1.7/24", "fd00::7"], "mac": "06:AB:00:00:00:01"}
    dns = {"nameservers": ["10.96.0.10"], "search": [], "domain": "cluster.local"}
    found = order(cniVersion=version, mtu=1400, runtimeConfig=runtime, dns=dns, socket="/x", other={"of": "ours"})
    assert found == Order(
        "ADD",
        version,
        "c0ffee",
        "eth0",
        "/run/netns/web",
        PodId("shop", "web"),
        "u-1",
        1400,
        (ip_address("10.244.1.7"), ip_address("fd00::7")),
        "06:ab:00:00:00:01",
        {"nameservers": ["10.96.0.10"], "domain": "cluster.local"},
    )


def test_a_previous_result_is_kept_as_it_came_and_understood() -> None:
    previous = order(prevResult=RESULT).previous
    assert previous is not None
    assert previous.raw == RESULT
    assert previous.interfaces == (End("vp1", "02:00:00:00:00:01", 0, ""), End("eth0", "", 1400, "/run/netns/web"))
    assert previous.addresses == ((ip_address("10.244.1.2"), 1), (ip_address("fd00::2"), None))


def test_a_del_needs_neither_pod_nor_namespace_nor_result() -> None:
    found = order({"CNI_COMMAND": "DEL", "CNI_ARGS": "", "CNI_NETNS": ""}, prevResult=None)
    assert (found.command, found.pod, found.sandbox, found.previous) == ("DEL", PodId("", ""), "", None)


def test_garbage_collection_lists_what_stays_and_needs_no_container() -> None:
    valid = [{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1"}]
    found = read({"CNI_COMMAND": "GC"}, json.dumps(CONFIG | {"cni.dev/valid-attachments": valid}).encode())
    assert found.valid == (("a", "eth0"), ("b", "net1"))


WRONG_ENVIRONMENT = [
    ("CNI_COMMAND", "FROB", "CNI_COMMAND 'FROB'; it must be ADD, DEL, CHECK, GC or STATUS"),
    ("CNI_CONTAINERID", "", "CNI_CONTAINERID ''; it must begin with a letter or digit"),
    ("CNI_CONTAINERID", "../x", "CNI_CONTAINERID '../x'; it must begin"),
    ("CNI_CONTAINERID", "a b", "CNI_CONTAINERID 'a b'; it must begin"),
    ("CNI_IFNAME", "", "CNI_IFNAME ''; it must have 1 to 15 bytes"),
    ("CNI_IFNAME", "sixteen-letters0", "it must have 1 to 15 bytes"),
    ("CNI_IFNAME", "ethäääääää", "it must have 1 to 15 bytes"),
    ("CNI_IFNAME", "a/b", "without /, : or white space"),
    ("CNI_IFNAME", "a:b", "without /, : or white space"),
    ("CNI_IFNAME", "a b", "without /, : or white space"),
    ("CNI_IFNAME", "a\x01b", "without /, : or white space"),
    ("CNI_IFNAME", "..", "CNI_IFNAME '..'"),
    ("CNI_IFNAME", "lo", "CNI_IFNAME lo is the pod's own; choose another, such as eth0"),
    ("CNI_ARGS", "K8S_POD_NAME", "CNI_ARGS has 'K8S_POD_NAME'; it must be NAME=VALUE;NAME=VALUE"),
    ("CNI_ARGS", "", "CNI_ARGS names no pod; this network needs K8S_POD_NAMESPACE and K8S_POD_NAME"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=shop", "CNI_ARGS names no pod"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=a b", "CNI_ARGS has K8S_POD_NAMESPACE 'a b', which no Kubernetes object can have"),
    ("CNI_ARGS", "K8S_POD_UID=u/1", "CNI_ARGS has K8S_POD_UID 'u/1', which no Kubernetes object can have"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG_ENVIRONMENT)
def test_a_wrong_variable_is_named_with_code_4(name: str, value: str, words: str) -> None:
    with pytest.raises(CniError) as error:
        order({name: value})
    assert error.value.code == Code.ENVIRONMENT
    assert words in str(error.value)


WRONG_CONFIG = [
    ({"mtu": "1400"}, 'mtu in the configuration is "1400"; it must be a whole number from 576 to 65535, or 0'),
    ({"mtu": True}, "mtu in the configuration is true"),
    ({"mtu": 100}, "mtu in the configuration is 100"),
    ({"mtu": 1400.5}, "mtu in the configuration is 1400.5"),
    ({"dns": []}, "dns in the configuration is []; it must be an object"),
    ({"dns": {"nameservers": "x"}}, 'dns.nameservers in the configuration is "x"; it must be a list of texts'),
    ({"dns": {"search": [1]}}, "dns.search in the configuration is [1]"),
    ({"dns": {"domain": ["x"]}}, 'dns.domain in the configuration is ["x"]; it must be a text'),
    ({"runtimeConfig": []}, "runtimeConfig in the configuration is []; it must be an object"),
    ({"runtimeConfig": {"ips": "10.0.0.1"}}, 'ips in the configuration is "10.0.0.1"; it must be a list'),
    ({"runtimeConfig": {"ips": ["10.0.0.300"]}}, 'runtimeConfig.ips in the configuration is "10.0.0.300"'),
    ({"runtimeConfig": {"ips": [7]}}, "runtimeConfig.ips in the configuration is 7; it must be an address such as"),
    ({"runtimeConfig": {"mac": "zz"}}, 'runtimeConfig.mac in the configuration is "zz"'),
    ({"runtimeConfig": {"mac": 5}}, "runtimeConfig.mac in the configuration is 5"),
    ({"runtimeConfig": {"mac": "01:00:00:00:00:00"}}, "it must be the address of one interface"),
    ({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}, "it must be the address of one interface"),
    ({"prevResult": "x"}, 'prevResult in the configuration is "x"; it must be an object'),
    ({"prevResult": {"interfaces": {}}}, "interfaces in the configuration is {}; it must be a list"),
    ({"prevResult": {"interfaces": [{}]}}, "prevResult.interfaces in the configuration is {}"),
    ({"prevResult": {"interfaces": [{"name": "a", "mtu": "9"}]}}, "prevResult.interfaces in the configuration"),
    ({"prevResult": {"ips": [{"address": "x"}]}}, 'prevResult.ips.address in the configuration is "x"'),
    ({"prevResult": {"ips": [{"address": "10.0.0.1", "interface": 3}]}}, "an interface that is an index"),
    ({"prevResult": {"ips": [{"address": "10.0.0.1", "interface": []}]}}, "an interface that is an index"),
    ({"prevResult": {"ips": ["10.0.0.1"]}}, "prevResult.ips in the configuration"),
]


@pytest.mark.parametrize(("config", "words"), WRONG_CONFIG)
def test_a_wrong_configuration_is_named_with_code_7(config: dict[str, Any], words: str) -> None:
    with pytest.raises(CniError) as error:
        order(**config)
    assert error.value.code == Code.CONFIG
    assert words in str(error.value)


@pytest.mark.parametrize("valid", [None, "x", ["x"], [{}], [{"containerID": "a"}], [{"containerID": 1, "ifname": "a"}]])
def test_garbage_collection_without_a_clear_list_collects_nothing(valid: Any) -> None:
    config = CONFIG if valid is None else CONFIG | {"cni.dev/valid-attachments": valid}
    with pytest.raises(CniError, match="valid-attachments") as error:
        read({"CNI_COMMAND": "GC"}, json.dumps(config).encode())
    assert error.value.code == Code.CONFIG


def test_a_check_needs_the_result_of_the_add() -> None:
    with pytest.raises(CniError, match="CHECK needs prevResult") as error:
        order({"CNI_COMMAND": "CHECK"})
    assert error.value.code == Code.CONFIG


@pytest.mark.parametrize("version", [None, 1, "0.2.0", "1.2.0", "", ["1.0.0"]])
def test_another_version_has_code_1_and_names_those_that_are_spoken(version: Any) -> None:
    with pytest.raises(CniError, match=r"this plugin speaks 0\.3\.1, 0\.4\.0, 1\.0\.0, 1\.1\.0") as error:
        order(cniVersion=version)
    assert error.value.code == Code.VERSION


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_what_is_no_json_object_has_code_6(text: str) -> None:
    with pytest.raises(CniError) as error:
        read(ENVIRONMENT, text.encode("latin-1"))
    assert error.value.code == Code.DECODE


def test_an_error_is_answered_in_the_version_that_was_asked_in() -> None:
    assert version_of(b'{"cniVersion": "0.4.0", "mtu": "x"}') == "0.4.0"
    assert [version_of(text) for text in (b"{", b"[]", b'{"cniVersion": "9"}', b'{"cniVersion": {}}')] == ["1.1.0"] * 4


PLAIN = st.sampled_from([None, True, 0, -1, 1.5, 1 << 70, "", "x", "10.0.0.1", "::1/64", [], {}, [None], [{}], ["x"]])
KEYS = ["mtu", "dns", "runtimeConfig", "prevResult", "cni.dev/valid-attachments", "cniVersion"]
INNER = ["ips", "mac", "interfaces", "address", "interface", "name", "sandbox", "nameservers", "domain"]


INSIDE = st.dictionaries(st.sampled_from(INNER), PLAIN | st.lists(PLAIN, max_size=2), max_size=4)


@given(
    st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", ""]),
    st.dictionaries(st.sampled_from(KEYS), PLAIN | INSIDE | st.lists(INSIDE, max_size=2), max_size=3),
)
def test_no_configuration_does_anything_but_be_read_or_refused(command: str, config: dict[str, Any]) -> None:
    with suppress(CniError):
        assert isinstance(order({"CNI_COMMAND": command}, **config), Order)
