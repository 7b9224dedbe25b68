"""A probe (docs/formats): one question as plain data -> the packet that it means in a world.

Used by everything that asks: judge, explain, the lab that sends it for real. The world's end names are resolved here;
what the packet may do is decided in `policy`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from vallum.analysis.asked import Asked
from vallum.model.address import Address, Packed, by_name, family, pack
from vallum.model.errors import InputError
from vallum.model.objects import ICMP, ICMPV6, PROTOCOLS, Pod, PodId
from vallum.model.packet import PORTED, Packet
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import node_by_name

ECHO = {ICMP: 8, ICMPV6: 128}
_KNOWN = frozenset({"id", "from", "to", "protocol", "port", "type", "code", "family", "source", "of"})
SPORT = 40000
"""The source port that a pure answer assumes; no rule of NetworkPolicy looks at it."""


Owner = Callable[[Packed], PodId | None]
"""Who has an address."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. `extra` holds keys that are handed back as they came."""

    id: Any
    source_end: str
    target_end: str
    protocol: int
    port: int = 0
    icmp_type: int | None = None
    icmp_code: int = 0
    family: int | None = None
    written: Address | None = None
    of: Any = None
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """One end of a probe. `pod` None: an address that no pod has; `hosted`: the node of a pod on its network."""

    text: str
    pod: PodId | None
    addresses: tuple[Packed, ...]
    hosted: bool = False


def parse(data: Mapping[str, Any]) -> Probe:
    """Plain data -> Probe. Raises InputError that names the key and what would be right."""
    for key in ("from", "to"):
        if not isinstance(data.get(key), str) or not data[key]:
            raise InputError("", f'"{key}" must be "namespace/pod" or an address, got {data.get(key)!r}')
    version = data.get("family")
    if version not in (None, 4, 6):
        raise InputError("", f'"family" must be 4 or 6, got {version!r}')
    protocol = _protocol(data.get("protocol", "TCP"), version)
    port = data.get("port", 0)
    if protocol in PORTED and not (_is_number(port) and 1 <= port <= 65535):
        raise InputError("", f'"port" must be 1 to 65535 for this protocol, got {data.get("port")!r}')
    extra = tuple((key, value) for key, value in data.items() if key not in _KNOWN)
    return Probe(
        data.get("id"),
        data["from"],
        data["to"],
        protocol,
        port if protocol in PORTED else 0,
        _small(data, "type"),
        _small(data, "code") or 0,
        version,
        _written(data.get("source")),
        data.get("of"),
        extra,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _small(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    if value is not None and not (_is_number(value) and 0 <= value <= 255):
        raise InputError("", f'"{key}" must be 0 to 255, got {value!r}')
    return value


def _protocol(value: object, version: int | None) -> int:
    names = PROTOCOLS | {"ICMP": ICMPV6 if version == 6 else ICMP, "ICMPV6": ICMPV6}
    if isinstance(value, str) and value.upper() in names:
        return names[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    raise InputError("", f'"protocol" must be TCP, UDP, SCTP, ICMP or a number from 0 to 255, got {value!r}')


def _written(value: object) -> Address | None:
    try:
        return None if value is None else ip_address(str(value))
    except ValueError as error:
        raise InputError("", f'"source" must be an address, got {value!r}') from error


class Ends:
    """Resolves the ends of probes in one world. Pods without addresses are judged by name."""

    def __init__(self, snapshot: Snapshot, owner: Owner | None = None) -> None:
        self._snapshot = snapshot
        self._owner = owner or Asked(snapshot).owner

    def end(self, text: str) -> End:
        """Raises InputError for a pod that is not there or has finished, and for text that is neither."""
        if "/" not in text:
            return self._by_address(text)
        id_ = named_pod(text)
        pod = self._snapshot.pods.get(id_)
        if pod is None:
            raise InputError("", f"there is no pod {text}{self._nearly(id_.name)}")
        if pod.finished:
            raise InputError("", f"pod {text} has finished: it neither sends nor receives")
        if pod.host_network:
            return End(text, None, self._node_addresses(pod), hosted=True)
        addresses = self._addresses(pod)
        if not addresses:
            raise InputError("", f"pod {text} lost its address to a newer pod")
        return End(text, id_, addresses)

    def _addresses(self, pod: Pod) -> tuple[Packed, ...]:
        """What the pod still has of its addresses, in their order; its name where it has none."""
        if not pod.addresses:
            return (by_name(str(pod.id)),)
        return tuple(packed for packed in map(pack, pod.addresses) if self._owner(packed) == pod.id)

    def _by_address(self, text: str) -> End:
        try:
            packed = pack(ip_address(text))
        except ValueError as error:
            raise InputError("", f"{text!r} is neither namespace/pod nor an address") from error
        return End(text, self._owner(packed), (packed,))

    def _node_addresses(self, pod: Pod) -> tuple[Packed, ...]:
        node = self._snapshot.nodes.get(pod.node or "")
        stated = tuple(map(pack, node.addresses)) if node else ()
        return stated or (node_by_name(pod.node) if pod.node else by_name(str(pod.id)),)

    def _nearly(self, name: str) -> str:
        same = sorted(str(id_) for id_ in self._snapshot.pods if id_.name == name)
        return f"; did you mean {same[0]}?" if same else ""

    def packet(self, probe: Probe, *, known_flow: bool = False) -> Packet:
        """The packet that a probe means. Raises InputError when the ends share no family."""
        return packet_between(self.end(probe.source_end), self.end(probe.target_end), probe, known_flow=known_flow)


def packet_between(source: End, target: End, probe: Probe, *, known_flow: bool = False) -> Packet:
    """The packet that a probe means whose ends are these. Raises InputError when they share no family."""
    pair = _pair(source, target, probe.family)
    protocol = ICMPV6 if probe.protocol == ICMP and family(pair[0]) == 6 else probe.protocol
    ported = protocol in PORTED
    kind = ECHO.get(protocol) if probe.icmp_type is None else probe.icmp_type
    return Packet(
        pack(probe.written) if probe.written else pair[0],
        pair[1],
        protocol,
        probe.port if ported else 0,
        SPORT if ported else 0,
        sender=source.pod,
        icmp_type=kind if protocol in ECHO else None,
        known_flow=known_flow,
    )


def named_pod(text: str) -> PodId:
    """The pod that `namespace/name` names."""
    namespace, _, name = text.partition("/")
    return PodId(namespace, name)


def _pair(source: End, target: End, version: int | None) -> tuple[Packed, Packed]:
    """The first addresses that fit together; an end known by name only fits every family."""
    for one in source.addresses:
        for other in target.addresses:
            families = {family(one), family(other)} - {0}
            if len(families) <= 1 and (version is None or families <= {version}):
                return one, other
    wanted = f"IPv{version}" if version else "one family"
    raise InputError("", f"{source.text} and {target.text} do not both have an address of {wanted}")
