"""The fixed part of the table: hooks, source check, orientation, and the end of every denial.

Hooks: postrouting at 90 sees what pods see (after DNAT, before SNAT at 100) and works with IPVS; input at 90 judges
pod -> own node (at 100 the kernel has turned a reply's source back into the Service address). IPv4 sources of pods are
checked by strict rp_filter on their links, which costs a quarter of a rule.

Each flow is judged once per revision: a judgement that allows it leaves the revision's number in some bits of its
conntrack mark (written CURRENT here, a number in the kernel), and every change of the table brings a new number. So a
change acts on the next packet of every flow, and all other packets cost no more than connection tracking does.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from vallum.dataplane.nftables.program import Chain, NftSet
from vallum.model.address import Network, Packed, family, show, unpack
from vallum.model.attachment import LocalNode
from vallum.model.packet import PORTED
from vallum.policy.classify import Tables
from vallum.policy.ruleset import Way

LOG_GROUP = 86
"""NFLOG group of denials (flows reads it)."""
LOG_RATE = 2000
"""Denials a second that are recorded; all are counted."""

SPOOFED = "vallum spoofed"
"""Log prefix of packets dropped by the source check."""
UNKNOWN = "vallum unknown"
"""Log prefix of packets from or to an address of the node's pods that no living pod is known to have."""

_PROTOCOL = {4: "ip", 6: "ip6"}
_SHORT = {Way.INGRESS: "in", Way.EGRESS: "eg"}


@dataclass(frozen=True, slots=True)
class Look:
    """One way of looking at a packet: a direction of policy, a family, original or reply."""

    way: Way
    version: int
    reply: bool

    @property
    def name(self) -> str:
        """Such as `in4o`: ingress, IPv4, original."""
        return f"{_SHORT[self.way]}{self.version}{'r' if self.reply else 'o'}"

    @property
    def dispatch(self) -> str:
        """The verdict map from a local pod's address to the chain of its profile."""
        return f"~{self.name}"

    @property
    def pod(self) -> str:
        """The chain that leads an isolated pod's packets to its profile, or denies: what it does not find is closed."""
        return f"~pod_{self.name}"

    @property
    def isolated(self) -> str:
        """The set of the pods that some policy isolates. Changes of a profile leave its elements alone."""
        return f"~isolated_{_SHORT[self.way]}{self.version}"

    @property
    def prefix(self) -> str:
        """The log prefix of its denials; `flows` reads direction of policy and orientation from it."""
        return f"vallum {self.name}"

    @property
    def deny(self) -> str:
        """The chain at the end of a denial."""
        return f"~deny_{self.name}"

    @property
    def address_type(self) -> str:
        """The nft type of an address of this family."""
        return f"ipv{self.version}_addr"

    @property
    def local(self) -> str:
        """The header field that holds the local pod: ingress judges the destination of the original direction."""
        return f"{_PROTOCOL[self.version]} {'daddr' if (self.way is Way.INGRESS) != self.reply else 'saddr'}"

    @property
    def remote(self) -> str:
        """The header field that holds the other end."""
        return f"{_PROTOCOL[self.version]} {'saddr' if (self.way is Way.INGRESS) != self.reply else 'daddr'}"

    def chain(self, profile: str) -> str:
        """The chain of a profile under this look."""
        return f"~{self.name}_{profile}"

    def fan(self, profile: str, suffix: str) -> str:
        """The map of a profile that leads remote addresses to leaf chains."""
        return f"~{self.name}_{profile}_{suffix}"

    def orient(self, rule: str, profile: str) -> str:
        """A rule written for any look, with REMOTE, PORT and FAN put in this look's words."""
        written = rule.replace("REMOTE", self.remote).replace("PORT", "sport" if self.reply else "dport")
        return re.sub(r"FAN:(\w+)", lambda found: self.fan(profile, found.group(1)), written)


LOOKS = tuple(Look(way, version, reply) for way in Way for version in (4, 6) for reply in (False, True))


CURRENT = "ct mark CURRENT"
"""Stands for a match on, and in `ct mark set` for a change to, the number of the revision in force."""
_NEIGHBOURS = "ip6 hoplimit 255 icmpv6 type 133-137 return"
"""Neighbour discovery is sent with hop limit 255 and never forwarded (RFC 4861), so on its way out it is our own."""
_REMEMBER = "ct state established,new ct mark set CURRENT"

_ICMP_ERROR = {
    4: "icmp type { destination-unreachable, source-quench, redirect, time-exceeded, parameter-problem }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }",
}
"""Of no known flow such a packet has no direction, and is judged as it is (stance 15)."""

_SOURCE4 = "ip saddr @~local4 iifname != @~pods goto ~spoofed"
_BRIDGED4 = "ip saddr @~local4 iif != 0 iifname != @~pods goto ~spoofed"
"""From port to port of a bridge there is no link that it came by, and `bridged` has checked the port."""
_COVER = 25
"""The longest prefix that stands for all local pods: a longer one would move with most pods that come and go."""
_LEAVING6 = (
    "iif 0 return",  # sent by the node itself
    _NEIGHBOURS,  # sent by the node too, but shown with the link it goes out by
    'meta iifkind "vxlan" ip6 saddr @~own6 return',  # what a tunnel wrote around a packet is shown with the tunnel
    "goto ~source6",
)
_SOURCE6 = (
    "iifname . ip6 saddr @~sources6 return",
    # unspecified and link-local sources: neighbour discovery, MLD and DHCP towards the own node, never forwarded
    "iifname @~pods ip6 saddr { ::, fe80::/10 } return",
    "iifname @~pods goto ~spoofed",
    "ip6 saddr @~local6 goto ~spoofed",
    'iif != "lo" ip6 saddr @~own6 goto ~spoofed',  # the kernel believes this one of IPv6
)
_ORIENT = ("ct direction reply goto ~reply", "meta nfproto ipv4 goto ~v4o", "goto ~v6o")
"""No map within a rule of a chain that changes: the kernel empties it with the rule, while packets are before it."""
_REPLY = ("meta nfproto ipv4 goto ~v4r", "goto ~v6r")


def frame_chains(tables: Tables, node: LocalNode, *, marks: bool) -> Iterator[tuple[str, Chain]]:
    """Base chains and the four orientations. Without `marks` every packet is judged."""
    rule = _BRIDGED4 if any(attachment.bridged for attachment in node.attachments) else _SOURCE4
    source4 = _source4([address for address in tables.owners if family(address) == 4], rule)
    known = (f"{CURRENT} accept",) if marks else ()
    allowed = ("goto ~allowed",) if marks else ()
    hook = "type filter hook postrouting priority 90; policy accept;"
    yield "judge", Chain((source4, "meta nfproto ipv6 jump ~leaving6", *known, "goto ~anew"), hook)
    egress = tuple(
        f"{which} {_isolated(look)}"
        for look in LOOKS
        if _to_node(look)
        for which in ("ct direction original", f"ct state invalid,untracked {_ICMP_ERROR[look.version]}")
    )
    unknown = ("jump ~unknown",) if node.closed else ()
    own_hook = "type filter hook input priority 90; policy accept;"
    yield "own_node", Chain((source4, "meta nfproto ipv6 jump ~source6", *known, "goto ~input"), own_hook)
    yield "~input", Chain((*egress, *unknown, *(f"ct direction original {rule}" for rule in allowed)))
    yield "~anew", Chain(_ORIENT)
    yield "~reply", Chain(_REPLY)
    yield "~leaving6", Chain(_LEAVING6)
    yield "~source6", Chain(_SOURCE6)
    yield "~spoofed", Chain(_recorded_drop(SPOOFED))
    if unknown:
        yield "~unknown", Chain(tuple(_unknown(node.closed)))
        yield "~closed", Chain(_recorded_drop(UNKNOWN))
    if marks:
        yield "~allowed", Chain((_REMEMBER, "accept"))
    for version in (4, 6):
        for reply in (False, True):
            looks = [Look(way, version, reply) for way in (Way.EGRESS, Way.INGRESS)]
            yield (
                f"~v{version}{'r' if reply else 'o'}",
                Chain((*map(_isolated, looks), *unknown, *(allowed or ("accept",)))),
            )
            for look in looks:
                yield look.pod, Chain((f"{look.local} vmap @{look.dispatch}", f"goto {look.deny}"))


def _isolated(look: Look) -> str:
    return f"{look.local} @{look.isolated} jump {look.pod}"


def _source4(local: list[Packed], rule: str) -> str:
    """A local pod's address from anywhere but a pod's link; from which link is rp_filter's part.

    The prefix that covers them all goes first: it is compared within the rule, and so spares most packets from outside
    the look-up, which is 1.4 % of a request between two nodes (`bench policy-cost`).
    """
    if not local:
        return rule
    low, high = unpack(min(local)), unpack(max(local))
    length = min(_COVER, low.max_prefixlen - (int(low) ^ int(high)).bit_length())
    return f"ip saddr {ip_network((low, length), strict=False)} {rule}" if length else rule


def _unknown(closed: Iterable[Network]) -> Iterator[str]:
    for network in sorted(closed, key=str):
        for end in (f"{_PROTOCOL[network.version]} saddr", f"{_PROTOCOL[network.version]} daddr"):
            strangers = f"{end} != @~local{network.version} {end} != @~own{network.version}"
            yield f"{end} {network} {strangers} goto ~closed"


def _to_node(look: Look) -> bool:
    return look.way is Way.EGRESS and not look.reply


def deny_chains() -> Iterator[tuple[str, Chain]]:
    """What is allowed against every policy, and then the recorded drop."""
    for look in LOOKS:
        protocol = _PROTOCOL[look.version]
        rules = [f"{protocol} saddr . {protocol} daddr @~self{look.version} return"]
        if look.way is Way.INGRESS:
            rules.append(f"{look.remote} @~own{look.version} return")
        if look.version == 6:
            rules.append(_NEIGHBOURS)
            if look.way is Way.INGRESS:
                rules.append(f"{look.remote} fe80::/10 return")
        icmp = "1" if look.version == 4 else "58"
        # accept, not return: an error speaks of a flow that may have lost its permission and must not renew it
        rules.append(f"ct state related meta l4proto {icmp} accept")
        if not look.reply:
            # an ICMP error of no known flow is invalid too, and answers nothing: only echoes are turned round
            echo = "icmp type { echo-reply, echo-request }" if look.version == 4 else "icmpv6 type 128-129"
            lost = "ct state invalid,untracked"
            turned = f"goto ~v{look.version}r"
            # ports that cannot be read answer nothing either (stance 24): the comparison holds for all that can
            ported, others = _numbers(PORTED), _numbers({*PORTED, int(icmp)})
            rules.append(f"{lost} meta l4proto {ported} th dport >= 0 {turned}")
            rules += [f"{lost} meta l4proto != {others} {turned}", f"{lost} {echo} {turned}"]
        yield look.deny, Chain((*rules, *_recorded_drop(look.prefix)))


def _numbers(protocols: Iterable[int]) -> str:
    return f"{{ {', '.join(map(str, sorted(protocols)))} }}"


def _recorded_drop(prefix: str) -> tuple[str, str]:
    log = f'log prefix "{prefix}" group {LOG_GROUP} snaplen 128'
    return f"limit rate {LOG_RATE}/second burst 1000 packets {log}", "counter drop"


def source_sets(tables: Tables, node: LocalNode) -> Iterator[tuple[str, NftSet]]:
    """The addresses that the frame asks for."""
    attached = node.attachments
    own = [address for address in node.addresses if family(address) and not unpack(address).is_link_local]
    yield "~pods", NftSet("ifname", {f'"{attachment.interface}"': "" for attachment in attached})
    pairs = {
        f'"{attachment.interface}" . {show(address)}': ""
        for attachment in attached
        for address in attachment.addresses
        if family(address) == 6
    }
    yield "~sources6", NftSet("ifname . ipv6_addr", pairs)
    for version in (4, 6):
        kind = f"ipv{version}_addr"
        local = [address for address in tables.owners if family(address) == version]
        yield f"~local{version}", NftSet(kind, _keys(local))
        yield f"~own{version}", NftSet(kind, _keys(address for address in own if family(address) == version))
        yield f"~self{version}", NftSet(f"{kind} . {kind}", _self_pairs(tables, version))


def _keys(addresses: Iterable[Packed]) -> dict[str, str]:
    return {show(address): "" for address in addresses}


def _self_pairs(tables: Tables, version: int) -> dict[str, str]:
    """Nft cannot compare two header fields, so a pod's own addresses stand as pairs (stance 14)."""
    return {
        f"{show(one)} . {show(other)}": ""
        for local in {id(local): local for local in tables.owners.values()}.values()
        for one in local.addresses
        for other in local.addresses
        if family(one) == family(other) == version
    }
