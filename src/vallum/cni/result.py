"""What a plugin prints: results in the shape of each version of the specification, and errors. Pure.

Shapes differ little: an address says its family up to 0.4.0, an interface its MTU from 1.1.0 on. What it ignores: the
results of others, which are passed on as they came.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_network
from typing import Any

from vallum.model.address import Address
from vallum.model.wiring import GATEWAYS

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
_WITH_FAMILY = VERSIONS[:2]
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class Code(IntEnum):
    """Codes of the specification; from 100 on, ours."""

    VERSION = 1
    FIELD = 2
    CONTAINER = 3
    ENVIRONMENT = 4
    IO = 5
    DECODE = 6
    CONFIG = 7
    TRY_LATER = 11
    UNAVAILABLE = 50
    KERNEL = 100
    DIFFERS = 101
    EXISTS = 102


class CniError(Exception):
    """An answer that is an error. The message is for a person and says what to do.

    Args:
        code: of the specification, or one of ours.
        message: one line.
        details: more lines, where there are several findings.
    """

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class Made:
    """What an ADD made, in plain words: both ends of the link and the addresses of the pod's."""

    interface: str
    host_mac: str
    ifname: str
    mac: str
    mtu: int
    sandbox: str
    addresses: tuple[Address, ...]


def result(made: Made, version: str, dns: Mapping[str, Any]) -> bytes:
    """The result of ADD. Every family that the pod has leads out by the gateway on its link."""
    ends: list[dict[str, Any]] = [
        {"name": made.interface, "mac": made.host_mac},
        {"name": made.ifname, "mac": made.mac, "sandbox": made.sandbox},
    ]
    if version == NEWEST:
        ends = [{**end, "mtu": made.mtu} for end in ends]
    ips: list[dict[str, Any]] = []
    for address in made.addresses:
        family = {"version": str(address.version)} if version in _WITH_FAMILY else {}
        gateway = str(GATEWAYS[address.version])
        ips.append({**family, "interface": 1, "address": str(ip_network(address)), "gateway": gateway})
    families = dict.fromkeys(address.version for address in made.addresses)
    routes = [{"dst": _ANYWHERE[family], "gw": str(GATEWAYS[family])} for family in families]
    return _text({"cniVersion": version, "interfaces": ends, "ips": ips, "routes": routes, "dns": dict(dns)})


def passed_on(previous: Mapping[str, Any], version: str) -> bytes:
    """The result of the plugins before us, unchanged."""
    return _text({**previous, "cniVersion": version})


def failure(error: CniError, version: str) -> bytes:
    """An error as the specification wants it."""
    details = {"details": error.details} if error.details else {}
    return _text({"cniVersion": version, "code": int(error.code), "msg": str(error), **details})


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
