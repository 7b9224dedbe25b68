"""What `nft -s list table` prints -> Program: how the kernel's state is read back and compared.

Understands the listing of our own table only. Anything in it that is not ours simply shows up as a difference.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_network

from vallum.dataplane.nftables.program import Chain, NftSet, Program

_HEAD = re.compile(r"(table|set|map|chain) (?:inet )?(\S+) \{$")
_SETTING = re.compile(r"(type|flags|comment|size|policy|gc-interval|timeout|auto-merge)\b ?(.*)$")


def parse(listing: str) -> Program:
    """The program that a listing shows, names as they stand in the kernel (generation included)."""
    sets: dict[str, NftSet] = {}
    chains: dict[str, Chain] = {}
    for keyword, name, body in _objects(listing):
        if keyword == "chain":
            chains[name] = _chain(body)
        else:
            sets[name] = _set(body)
    return Program(sets, chains, flags=_table_flags(listing))


def _table_flags(listing: str) -> str:
    second = listing.splitlines()[1:2]
    return second[0].strip().removeprefix("flags ") if second and second[0].strip().startswith("flags ") else ""


def _objects(listing: str) -> Iterator[tuple[str, str, list[str]]]:
    keyword = name = ""
    body: list[str] = []
    for raw in listing.splitlines():
        line = raw.strip()
        head = _HEAD.match(line)
        if head and head.group(1) == "table":
            continue
        if head:
            keyword, name, body = head.group(1), head.group(2), []
        elif line == "}" and keyword:
            yield keyword, name, body
            keyword = ""
        elif keyword and line:
            body.append(line)


def _chain(body: list[str]) -> Chain:
    base = comment = ""
    rules = []
    for line in body:
        if line.startswith("type "):
            base = line
        elif line.startswith('comment "'):
            comment = line[len('comment "') : -1]
        else:
            rules.append(line)
    return Chain(tuple(rules), base, comment)


def _set(body: list[str]) -> NftSet:
    text = " ".join(body)
    head, _, elements = text.partition("elements = { ")
    settings: dict[str, str] = {}
    for line in body:
        found = _SETTING.match(line)
        if found and found.group(1) in ("type", "flags"):
            settings[found.group(1)] = found.group(2)
    key, _, data = settings.get("type", head).partition(" : ")
    flags = settings.get("flags", "")
    return NftSet(key, dict(_elements(elements, key, bool(data), "interval" in flags)), flags, data)


def _elements(text: str, key: str, mapped: bool, interval: bool) -> Iterator[tuple[str, str]]:
    inner = text.rpartition("}")[0].strip()
    for part in inner.split(", ") if inner else ():
        element, data = part.strip(), ""
        if mapped:
            element, _, data = element.rpartition(" : ")
        yield (_span(element) if interval and key.startswith("ipv") else element), data


def _span(element: str) -> str:
    """Intervals as `first-last`: nft prints a prefix where it can."""
    if "/" not in element:
        return element
    network = ip_network(element)
    return f"{network.network_address}-{network.broadcast_address}"
