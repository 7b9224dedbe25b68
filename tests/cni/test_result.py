"""Results have exactly the shape of the version that was asked for, errors that of the specification."""

import json
from ipaddress import ip_address
from typing import Any

import pytest

from vallum.cni.result import CniError, Code, Made, failure, passed_on, result

MADE = Made(
    "vp0123456789ab",
    "02:01:23:45:67:89",
    "eth0",
    "06:01:23:45:67:89",
    1400,
    "/run/netns/web",
    (ip_address("10.244.1.2"), ip_address("fd10::2")),
)
ENDS = [
    {"name": "vp0123456789ab", "mac": "02:01:23:45:67:89"},
    {"name": "eth0", "mac": "06:01:23:45:67:89", "sandbox": "/run/netns/web"},
]
IPS = [
    {"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
    {"address": "fd10::2/128", "gateway": "fe80::1", "interface": 1},
]
ROUTES = [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
DNS = {"nameservers": ["10.96.0.10"]}
WITH_FAMILY = [IPS[0] | {"version": "4"}, IPS[1] | {"version": "6"}]
WITH_MTU = [end | {"mtu": 1400} for end in ENDS]


@pytest.mark.parametrize(
    ("version", "ends", "ips"),
    [
        ("0.3.1", ENDS, WITH_FAMILY),
        ("0.4.0", ENDS, WITH_FAMILY),
        ("1.0.0", ENDS, IPS),
        ("1.1.0", WITH_MTU, IPS),
    ],
)
def test_a_result_has_the_shape_of_its_version(version: str, ends: list[Any], ips: list[Any]) -> None:
    expected = {"cniVersion": version, "interfaces": ends, "ips": ips, "routes": ROUTES, "dns": DNS}
    assert json.loads(result(MADE, version, DNS)) == expected


def test_a_pod_of_one_family_has_one_way_out() -> None:
    alone = Made("vp", "a", "eth0", "b", 1400, "/x", (ip_address("fd10::2"),))
    assert json.loads(result(alone, "1.0.0", {}))["routes"] == [{"dst": "::/0", "gw": "fe80::1"}]


def test_the_result_of_others_is_passed_on_in_full() -> None:
    assert json.loads(passed_on({"ips": [], "x": {"y": 1}}, "1.1.0")) == {
        "ips": [],
        "x": {"y": 1},
        "cniVersion": "1.1.0",
    }


def test_an_error_has_code_message_and_details_if_there_are_any() -> None:
    assert json.loads(failure(CniError(Code.TRY_LATER, "no ünit"), "0.4.0")) == {
        "cniVersion": "0.4.0",
        "code": 11,
        "msg": "no ünit",
    }
    assert json.loads(failure(CniError(Code.DIFFERS, "a", "b\nc"), "1.1.0"))["details"] == "b\nc"
