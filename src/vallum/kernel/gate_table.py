"""The gate as data: which rules and sets a Wiring's origins and masquerade ask for, and what a listing shows of them.

Pure. Rules and elements are kept in the very spelling that `nft list` prints, so that reading back is equality. Outer
headers are matched before the kernel takes them off, at fixed offsets of the raw transport header (RFC 7348, RFC 2003):
nft 1.0 knows no vxlan. What it ignores: devices with programs (`Ipip.driver` bpf), whose programs check for themselves.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from vallum.model.address import Network, collapsed
from vallum.model.wiring import Device, Ipip, Masquerade, Origin, Vxlan, Wiring

TABLE = "vallum-gate"
UNKNOWN, WRONG, ALIEN, LOOSE = "unknown-outer", "wrong-inner", "not-ip", "uncovered"
REASONS = (UNKNOWN, WRONG, ALIEN, LOOSE)
"""Counters, by what was wrong: the outer source is no known node, or not the one of the inner source; there is no IP
packet inside; it came out of the device with a source that no node behind it has.
"""

_PROTOCOL = {4: "ip", 6: "ip6"}
_ETHERTYPE = {4: "0x800", 6: "0x86dd"}
_VNI, _TYPE = "@th,96,24", "@th,224,16"
"""Bits behind the start of the UDP header: 8 bytes of it, 8 of vxlan with the VNI in bytes 4 to 6, then Ethernet."""
_VXLAN_SOURCE = {4: "@th,336,32", 6: "@th,304,128"}
_IPIP_SOURCE = "@th,96,32"
_EVERYBODY = {4: ("224.0.0.0/4", "255.255.255.255/32"), 6: ("fe80::/10", "ff00::/8")}
"""Destinations that no address of the node would make reachable."""

_INPUT = "type filter hook input priority -10; policy accept;"
_PREROUTING = "type filter hook prerouting priority -300; policy accept;"
_POSTROUTING = "type nat hook postrouting priority 110; policy accept;"
"""Behind the source NAT of others (100): the first that translates a connection is the last that is asked, so what
kube-proxy or a hostPort wants is done their way, mark and all.
"""
_WHOLE_FIRST = ("ct state invalid continue",)
"""Decides nothing. Looking at the state makes the kernel put fragments together before the input hook: for IPv6 it
otherwise does that behind it, and what came in pieces would go past the origins.
"""

_HEAD = re.compile(r"(table|set|chain|counter) (?:inet )?(\S+) \{$")
_FLAGS = re.compile(r"table \S+ \S+ \{\n\s*flags (.*)")


@dataclass(frozen=True, slots=True)
class GateSet:
    """A set of intervals or, if `interval` is False, of single values. `key`: as declared, such as `type ipv4_addr`."""

    key: str
    elements: frozenset[str] = frozenset()
    interval: bool = True

    def declaration(self) -> str:
        """What stands between the braces, without elements."""
        return f"{self.key}; flags interval;" if self.interval else f"{self.key};"


@dataclass(frozen=True, slots=True)
class GateTable:
    """The whole table. The first line of a base chain is its hook. `flags`: ours has none; a dormant one is off."""

    sets: Mapping[str, GateSet] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flags: str = ""


def render(wiring: Wiring) -> GateTable | None:
    """The table that this wiring asks for; None where it asks for nothing."""
    sets: dict[str, GateSet] = {}
    chains: dict[str, tuple[str, ...]] = {}
    origins = _by_device(wiring.origins)
    enter, leave = [], []
    for device in sorted(wiring.devices, key=lambda each: each.name):
        if isinstance(device, Ipip) and device.driver != "kernel":
            continue
        enter.append(f"{_arrival(device)} goto {_into(device.name)}")
        leave.append(f'iifname "{device.name}" goto {_out(device.name)}')
        mine = origins.get(device.name, ())
        sets |= _device_sets(device, mine)
        chains |= _device_chains(device)
    if enter:
        chains |= {"input": (_INPUT, *enter), "prerouting": (_PREROUTING, *leave)}
    if wiring.masquerade is not None and wiring.masquerade.sources:
        sets |= _masquerade_sets(wiring.masquerade)
        chains["postrouting"] = (_POSTROUTING, *map(_masquerade, (4, 6)))
    return GateTable(sets, chains) if chains else None


def parse(listing: str) -> GateTable:
    """What `nft -s list table` shows. Whatever is not ours in it shows up as a difference."""
    sets: dict[str, GateSet] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for keyword, name, body in _objects(listing):
        if keyword == "set":
            sets[name] = _read_set(body)
        elif keyword == "chain":
            chains[name] = tuple(body)
    flags = _FLAGS.match(listing)
    return GateTable(sets, chains, flags.group(1) if flags else "")


def whole(table: GateTable, counts: Mapping[str, int]) -> str:
    """The script that puts this table in the place of whatever stands there, its counters beginning at `counts`."""
    lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    lines += [f"counter {name} {{ packets {counts.get(name, 0)} bytes 0 }}" for name in REASONS]
    for name, each in table.sets.items():
        elements = f" elements = {{ {', '.join(sorted(each.elements))} }}" if each.elements else ""
        lines.append(f"set {name} {{ {each.declaration()}{elements} }}")
    inner_first = sorted(table.chains, key=lambda name: table.chains[name][0].startswith("type "))
    for name in inner_first:  # a chain is declared before a rule leads to it
        lines.append(f"chain {name} {{\n" + "\n".join(table.chains[name]) + "\n}")
    return "\n".join([*lines, "}"])


def change(held: GateTable, wanted: GateTable) -> str | None:
    """The script that turns one into the other by elements alone; None where that is not enough."""
    shape = {name: (each.key, each.interval) for name, each in held.sets.items()}
    if (
        held.flags
        or held.chains != wanted.chains
        or shape != {name: (each.key, each.interval) for name, each in wanted.sets.items()}
    ):
        return None
    lines = []
    for name, each in wanted.sets.items():
        for verb, elements in (
            ("delete", held.sets[name].elements - each.elements),
            ("add", each.elements - held.sets[name].elements),
        ):
            if elements:
                lines.append(f"{verb} element inet {TABLE} {name} {{ {', '.join(sorted(elements))} }}")
    return "\n".join(lines)


def difference(found: GateTable | None, wanted: GateTable | None) -> tuple[str, ...]:
    """In words, what became of the table that was wanted."""
    if found == wanted:
        return ()
    if found is None:
        return (f"table inet {TABLE} was gone",)
    if wanted is None:
        return (f"table inet {TABLE} was there",)
    words = [f"table inet {TABLE} was {found.flags}"] if found.flags else []
    for kind, had, want in (("set", found.sets, wanted.sets), ("chain", found.chains, wanted.chains)):
        words += [f"{kind} {name} was gone" for name in sorted(want.keys() - had.keys())]
        words += [f"{kind} {name} was there" for name in sorted(had.keys() - want.keys())]
        words += [f"{kind} {name} was changed" for name in sorted(want.keys() & had.keys()) if had[name] != want[name]]
    return tuple(words)


def _by_device(origins: Iterable[Origin]) -> dict[str, tuple[Origin, ...]]:
    ordered = sorted(origins, key=lambda each: each.device)
    return {device: tuple(group) for device, group in groupby(ordered, key=lambda each: each.device)}


def _into(device: str) -> str:
    return f"into_{device}"


def _out(device: str) -> str:
    return f"out_{device}"


def _arrival(device: Device) -> str:
    """Matches what the kernel will hand to this device: for vxlan its port and VNI, for ipip its own address."""
    outer = device.local.version
    match device:
        case Vxlan():
            return f"meta nfproto ipv{outer} udp dport {device.port} {_VNI} {device.vni:#x}"
        case Ipip():
            return f"ip protocol 4 ip daddr {device.local}"


def _inners(device: Device) -> dict[int, str]:
    """Where the inner source stands, by inner family."""
    return _VXLAN_SOURCE if isinstance(device, Vxlan) else {4: _IPIP_SOURCE}


def _device_sets(device: Device, origins: Iterable[Origin]) -> dict[str, GateSet]:
    outer = device.local.version
    spans = [span for span in map(_span, origins) if span.outer == outer]
    known = frozenset(span.node for span in spans)
    sets = {f"nodes_{device.name}": GateSet(f"type ipv{outer}_addr", known, interval=False)}
    for version, place in _inners(device).items():
        carried = [span for span in spans if span.inner == version]
        pairs = frozenset(f"{span.node} . {span.raw}" for span in _outermost(carried, by_node=True))
        sets[f"from{version}_{device.name}"] = GateSet(f"typeof {_PROTOCOL[outer]} saddr . {place}", pairs)
        ranges = frozenset(span.element for span in _outermost(carried))
        sets[f"behind{version}_{device.name}"] = GateSet(f"type ipv{version}_addr", ranges)
    return sets


def _device_chains(device: Device) -> dict[str, tuple[str, ...]]:
    outer = f"{_PROTOCOL[device.local.version]} saddr"
    into, out = [], []
    for version, place in _inners(device).items():
        kind = f"{_TYPE} {_ETHERTYPE[version]} " if isinstance(device, Vxlan) else ""
        into.append(f"{kind}{outer} . {place} @from{version}_{device.name} accept")
        out.append(f"{_PROTOCOL[version]} saddr @behind{version}_{device.name} accept")
    into.append(f'{outer} != @nodes_{device.name} counter name "{UNKNOWN}" drop')
    if isinstance(device, Vxlan):
        into.append(f'{_TYPE} != {{ {", ".join(_ETHERTYPE.values())} }} counter name "{ALIEN}" drop')
    into.append(f'counter name "{WRONG}" drop')
    out.append(f'counter name "{LOOSE}" drop')
    whole_first = _WHOLE_FIRST if device.local.version == 6 else ()
    return {_into(device.name): (*whole_first, *into), _out(device.name): tuple(out)}


class _Span(NamedTuple):
    """An origin in numbers and in nft's words: families, the outer address, and the inner range."""

    outer: int
    inner: int
    node: str
    first: int
    reach: int
    raw: str
    element: str


_NODE_FIRST, _RANGE_FIRST = itemgetter(2, 3, 4), itemgetter(3, 4)
"""To sort by, the widest first of those that begin at one place."""


@lru_cache(1 << 16)
def _span(origin: Origin) -> _Span:
    """Remembered: a change is mostly one of a few among thousands, and writing addresses takes the time."""
    network = origin.inner
    first, last = int(network.network_address), int(network.broadcast_address)
    raw = f"{first:#x}" + (f"-{last:#x}" if last > first else "")  # raw bytes are numbers for nft, an interval two
    return _Span(origin.outer.version, network.version, str(origin.outer), first, first - last, raw, _element(network))


def _outermost(spans: Iterable[_Span], *, by_node: bool = False) -> Iterator[_Span]:
    """Spans of one family without those inside others, or `by_node` inside others of the same node. Two networks
    overlap only where one holds the other.
    """
    node, end = "", -1
    for span in sorted(spans, key=_NODE_FIRST if by_node else _RANGE_FIRST):
        last = span.first - span.reach
        if (by_node and span.node != node) or last > end:
            yield span
            node, end = span.node, last


def _element(network: Network) -> str:
    """As nft writes an interval: an address alone without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


@lru_cache(2)
def _masquerade_sets(masquerade: Masquerade) -> dict[str, GateSet]:
    sets = {}
    for version in (4, 6):
        kind = f"type ipv{version}_addr"
        inside = [*masquerade.inside, *map(ip_network, _EVERYBODY[version])]
        for name, networks in (("sources", masquerade.sources), ("inside", inside)):
            chosen = [each for each in networks if each.version == version]
            sets[f"{name}{version}"] = GateSet(kind, frozenset(map(_element, collapsed(chosen))))
    return sets


def _masquerade(version: int) -> str:
    protocol = _PROTOCOL[version]
    return f"{protocol} saddr @sources{version} {protocol} daddr != @inside{version} masquerade fully-random"


def _objects(listing: str) -> Iterator[tuple[str, str, list[str]]]:
    keyword = name = ""
    body: list[str] = []
    for raw in listing.splitlines():
        line = raw.strip()
        head = _HEAD.match(line)
        if head:
            keyword, name, body = head.group(1), head.group(2), []
        elif line == "}":
            if keyword:
                yield keyword, name, body
            keyword = ""
        elif keyword and line:
            body.append(line)


def _read_set(body: list[str]) -> GateSet:
    head, _, elements = " ".join(body).partition("elements = { ")
    key, _, flags = head.partition(" flags ")
    found = elements.rpartition("}")[0].split(",")
    return GateSet(key.strip(), frozenset(each.strip() for each in found if each.strip()), "interval" in flags)
