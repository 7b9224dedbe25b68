"""What a runtime asked, read strictly: variables and configuration become one frozen `Order`. Pure.

CNI 0.3.1 to 1.1.0. Whatever cannot be meant is a CniError with the specification's code and what to write instead. What
it ignores: keys of other plugins and of the runtime that are none of ours, as the specification demands.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any

from vallum.cni.result import NEWEST, VERSIONS, CniError, Code
from vallum.model.address import Address
from vallum.model.objects import PodId

_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_OBJECT = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?)?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LONGEST_IFNAME = 15
_MTUS = range(576, 65536)
_NAMES = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID")
_DNS = ("nameservers", "domain", "search", "options")


NOBODY = PodId("", "")


@dataclass(frozen=True, slots=True)
class End:
    """An interface of a result; on the node where `sandbox` is empty. What it does not say is empty or 0."""

    name: str
    mac: str
    mtu: int
    sandbox: str


@dataclass(frozen=True, slots=True)
class Previous:
    """A result of plugins before us: as it came, and what we need of it."""

    raw: Mapping[str, Any]
    interfaces: tuple[End, ...]
    addresses: tuple[tuple[Address, int | None], ...]
    """Each with the index of its interface, where it says one."""


@dataclass(frozen=True, slots=True)
class Order:
    """One call, understood. `pod` is empty where the runtime does not name one (only DEL, GC and STATUS may)."""

    command: str
    version: str
    container: str = ""
    ifname: str = ""
    sandbox: str = ""
    pod: PodId = NOBODY
    uid: str = ""
    mtu: int | None = None
    wanted: tuple[Address, ...] = ()
    mac: str | None = None
    dns: Mapping[str, Any] = field(default_factory=dict)
    previous: Previous | None = None
    valid: tuple[tuple[str, str], ...] = ()
    """GC: container id and interface name of each attachment that stays."""


def version_of(stdin: bytes) -> str:
    """The version to answer an error in, whatever else is wrong."""
    try:
        stated = json.loads(stdin)["cniVersion"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return NEWEST
    return stated if stated in VERSIONS else NEWEST


def read(environment: Mapping[str, str], stdin: bytes) -> Order:
    """Raises CniError."""
    config = _config(stdin)
    command = environment.get("CNI_COMMAND", "")
    common = Order(command, config["cniVersion"], mtu=_mtu(config), dns=_dns(config))
    match command:
        case "ADD" | "CHECK" | "DEL":
            return _attachment(common, environment, config)
        case "GC":
            return Order(command, common.version, valid=_valid(config))
        case "STATUS":
            return common
        case _:
            raise CniError(Code.ENVIRONMENT, f"CNI_COMMAND {command!r}; it must be ADD, DEL, CHECK, GC or STATUS")


def _attachment(common: Order, environment: Mapping[str, str], config: dict[str, Any]) -> Order:
    args = _args(environment.get("CNI_ARGS", ""))
    pod = PodId(args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", ""))
    runtime = _mapping(config, "runtimeConfig")
    if common.command == "ADD" and not (pod.namespace and pod.name):
        problem = "CNI_ARGS names no pod; this network needs K8S_POD_NAMESPACE and K8S_POD_NAME, to protect it"
        raise CniError(Code.ENVIRONMENT, problem)
    previous = _previous(config)
    if common.command == "CHECK" and previous is None:
        raise CniError(Code.CONFIG, "CHECK needs prevResult, the result of ADD, in the configuration")
    return Order(
        common.command,
        common.version,
        _container(environment.get("CNI_CONTAINERID", "")),
        _ifname(environment.get("CNI_IFNAME", "")),
        environment.get("CNI_NETNS", ""),
        pod,
        args.get("K8S_POD_UID", ""),
        common.mtu,
        tuple(_address(each, "runtimeConfig.ips") for each in _list(runtime, "ips")),
        _mac(runtime),
        common.dns,
        previous,
    )


# The environment


def _container(text: str) -> str:
    if not _CONTAINER.fullmatch(text):
        problem = f"CNI_CONTAINERID {text!r}; it must begin with a letter or digit and hold only these, _ . and -"
        raise CniError(Code.ENVIRONMENT, problem)
    return text


def _ifname(text: str) -> str:
    wrong = not text or len(text.encode(errors="replace")) > _LONGEST_IFNAME or text in {".", ".."}
    if wrong or any(each in "/:" or each.isspace() or not each.isprintable() for each in text):
        problem = f"CNI_IFNAME {text!r}; it must have 1 to {_LONGEST_IFNAME} bytes without /, : or white space"
        raise CniError(Code.ENVIRONMENT, problem)
    if text == "lo":
        raise CniError(Code.ENVIRONMENT, "CNI_IFNAME lo is the pod's own; choose another, such as eth0")
    return text


def _args(text: str) -> dict[str, str]:
    found = {}
    for pair in filter(None, text.split(";")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise CniError(Code.ENVIRONMENT, f"CNI_ARGS has {pair!r}; it must be NAME=VALUE;NAME=VALUE")
        if name in _NAMES and not _OBJECT.fullmatch(value):
            raise CniError(Code.ENVIRONMENT, f"CNI_ARGS has {name} {value!r}, which no Kubernetes object can have")
        found[name] = value
    return found


# The configuration


def _config(stdin: bytes) -> dict[str, Any]:
    try:
        config = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise CniError(Code.DECODE, f"the configuration is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise CniError(Code.DECODE, "the configuration must be a JSON object")
    version = config.get("cniVersion")
    if version not in VERSIONS:
        problem = f"cniVersion {version!r} in the configuration; this plugin speaks {', '.join(VERSIONS)}"
        raise CniError(Code.VERSION, problem)
    return config


def _mtu(config: dict[str, Any]) -> int | None:
    mtu = config.get("mtu", 0)
    if mtu == 0 and not isinstance(mtu, bool):
        return None
    if isinstance(mtu, bool) or not isinstance(mtu, int) or mtu not in _MTUS:
        raise _wrong("mtu", mtu, f"a whole number from {_MTUS[0]} to {_MTUS[-1]}, or 0 for the node's own")
    return mtu


def _dns(config: dict[str, Any]) -> dict[str, Any]:
    dns = _mapping(config, "dns")
    for key in _DNS:
        wrong = not isinstance(dns[key], str) if key == "domain" and key in dns else not _are_texts(dns.get(key, []))
        if wrong:
            raise _wrong(f"dns.{key}", dns[key], "a text" if key == "domain" else "a list of texts")
    return {key: dns[key] for key in _DNS if dns.get(key)}


def _mac(runtime: dict[str, Any]) -> str | None:
    mac = runtime.get("mac")
    if mac is None or mac == "":
        return None
    text = mac.lower() if isinstance(mac, str) else ""
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise _wrong("runtimeConfig.mac", mac, "the address of one interface, such as 06:00:00:00:00:01")
    return text


def _valid(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    key = "cni.dev/valid-attachments"
    if key not in config:
        raise CniError(Code.CONFIG, f"GC needs {key} in the configuration: without it nothing is released")
    found = []
    for each in _list(config, key):
        pair = (each.get("containerID"), each.get("ifname")) if isinstance(each, dict) else ("", "")
        if not _are_texts(list(pair)) or not all(pair):
            raise _wrong(key, each, 'objects such as {"containerID": "...", "ifname": "eth0"}')
        found.append((str(pair[0]), str(pair[1])))
    return tuple(found)


def _previous(config: dict[str, Any]) -> Previous | None:
    if config.get("prevResult") is None:
        return None
    raw = _mapping(config, "prevResult")
    interfaces = tuple(_end(each) for each in _list(raw, "interfaces"))
    addresses = []
    for each in _list(raw, "ips"):
        index = each.get("interface") if isinstance(each, dict) else None
        if not isinstance(each, dict) or not (index is None or index in range(len(interfaces))):
            raise _wrong("prevResult.ips", each, "objects with an address, and an interface that is an index")
        addresses.append((_address(each.get("address"), "prevResult.ips.address"), index))
    return Previous(raw, interfaces, tuple(addresses))


def _end(value: Any) -> End:
    each = value if isinstance(value, dict) else {}
    name, mac, sandbox = (each.get(key) or "" for key in ("name", "mac", "sandbox"))
    mtu = each.get("mtu") or 0
    if not (_are_texts([name, mac, sandbox]) and name and isinstance(mtu, int)):
        raise _wrong(
            "prevResult.interfaces", value, "objects with a name and, if at all, texts mac, sandbox and an mtu"
        )
    return End(name, mac, mtu, sandbox)


def _address(value: Any, place: str) -> Address:
    """An address, with or without a prefix length."""
    try:
        return ip_interface(value).ip if isinstance(value, str) and "/" in value else ip_address(_text(value))
    except ValueError as error:
        raise _wrong(place, value, "an address such as 10.244.1.7 or 10.244.1.7/24") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - as ip_address says it of a wrong text
    return value


def _mapping(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, value, "an object")
    return value


def _list(config: Mapping[str, Any], key: str) -> list[Any]:
    value = config.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(key, value, "a list")
    return value


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _wrong(place: str, value: Any, right: str) -> CniError:
    return CniError(Code.CONFIG, f"{place} in the configuration is {json.dumps(value)[:80]}; it must be {right}")
