"""What a node's kernel is set to, as far as packets between nodes depend on it. Reads, and changes nothing.

In the network namespace of the calling thread. What it ignores: whether any of it is wrong (`agent.doctor`).
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from vallum.kernel import rtmessages, sysctl
from vallum.kernel.rtmessages import FAMILIES, Interface
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import Address, Network
from vallum.model.errors import KernelError

_OFF, _STRICT = "0", 1


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """A route of the main table. `device` None: it rejects what it matches, or has several ways."""

    destination: Network
    device: str | None
    protocol: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What was read.

    Attributes:
        routes: of the main table, whoever's.
        addresses: of each interface.
        strict: interfaces with a strict reverse path filter (RFC 3704), their own or everybody's.
        closed: by family what forwards no packets: `all`, or interfaces.
        tracked: connections in the table and its size, both 0 without connection tracking.
    """

    routes: tuple[FoundRoute, ...]
    addresses: tuple[tuple[str, Interface], ...]
    strict: frozenset[str]
    closed: dict[int, frozenset[str]]
    tracked: tuple[int, int]


def survey() -> Survey:
    """Raises KernelError where the kernel does not tell its routes or addresses."""
    with Rtnetlink() as netlink:
        names = {link.index: link.name for link in netlink.links()}
        routes, addresses = [], []
        for version in FAMILIES:
            for data in netlink.dump("read routes", rtmessages.GETROUTE, rtmessages.routes(version)):
                told = rtmessages.read_route(data)
                device = names.get(told.index or 0) if told.unicast else None
                routes.append(FoundRoute(told.destination, device, told.protocol))
            for data in netlink.dump("read addresses", rtmessages.GETADDR, rtmessages.addresses(version)):
                index, address = rtmessages.read_address(data)
                addresses.append((names.get(index, ""), address))
    links = frozenset(names.values())
    strict = frozenset(name for name in links if _reverse_path(name) == _STRICT)
    return Survey(tuple(routes), tuple(addresses), strict, _closed(links), (_tracked("count"), _tracked("max")))


def ways_back(addresses: Iterable[Address]) -> dict[Address, str]:
    """By which interface a packet to each address would leave; tunnels too. One with no way is missing.

    Raises KernelError where the kernel could not be asked.
    """
    asked = tuple(addresses)
    with Rtnetlink() as netlink:
        names = {link.index: link.name for link in netlink.links()}
        answers = netlink.many([(rtmessages.GETROUTE, rtmessages.way_to(each), 0) for each in asked])
    found = {}
    for address, answer in zip(asked, answers, strict=True):
        if isinstance(answer, bytes):
            told = rtmessages.read_route(answer)
            if told.unicast and told.index in names:
                found[address] = names[told.index]
    return found


def _reverse_path(link: str) -> int:
    """The kernel uses the greater of an interface's own and everybody's."""
    return max(int(_value(f"net/ipv4/conf/{name}/rp_filter") or 0) for name in ("all", link))


def _closed(links: frozenset[str]) -> dict[int, frozenset[str]]:
    """IPv6 knows one switch for all: what stands beside each interface says whether it is a router there."""
    everywhere4 = frozenset({"all"} if _value("net/ipv4/ip_forward") == _OFF else ())
    one_by_one = frozenset(link for link in links if _value(f"net/ipv4/conf/{link}/forwarding") == _OFF)
    everywhere6 = frozenset({"all"} if _value("net/ipv6/conf/all/forwarding") == _OFF else ())
    return {4: everywhere4 or one_by_one, 6: everywhere6}


def _tracked(what: str) -> int:
    return int(_value(f"net/netfilter/nf_conntrack_{what}") or 0)


def _value(key: str) -> str | None:
    """None where this kernel has no such setting, or an interface has just gone."""
    with suppress(KernelError):
        return sysctl.read(key)
    return None
