"""From what was seen on a node to what is wrong with it, in words, with a cure. Pure.

Each finding has an id (docs/doctor.md lists them). Where one fault explains another, it alone is told. What it ignores:
how anything was seen, and policies: what they deny is no fault.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vallum.agent.symptoms import Symptoms, Trial, Tunnel
from vallum.model.address import Network
from vallum.model.wiring import Problem

ERROR, WARNING = "error", "warning"
_FULL = 0.9
"""Share of the table of connections from which on it is nearly full."""

_KERNEL = 2
_CALLED = {
    _KERNEL: "the kernel",
    3: "boot",
    4: "static",
    12: "BIRD",
    80: "Calico",
    86: "Vallum",
    186: "BGP",
    188: "OSPF",
}
"""rtm_protocol (linux/rtnetlink.h, Calico's and ours)."""
_OWNERS = {
    "flannel": "flannel",
    "cni": "flannel or the bridge plugin",
    "cali": "Calico",
    "tunl": "Calico",
    "vxlan.calico": "Calico",
    "cilium": "Cilium",
    "lxc": "Cilium",
    "weave": "Weave",
    "kube-bridge": "kube-router",
}
"""How interfaces of other networks begin."""

_SENDER = "find out who sends them; if it is a node, compare its address with the one in its Node object"
_DROPS = {
    "unknown-outer": ("they came from an address that is no known node's", _SENDER),
    "wrong-inner": (
        "what they carried came from an address that is not the sending node's",
        "compare the pod ranges of the nodes here and there; a node may use addresses that are not its own",
    ),
    "not-ip": ("what they carried was no IP packet", _SENDER),
    "malformed": ("what they carried was no IP packet", _SENDER),
    "fragment": ("they came in pieces", "see what mtu-link says; packets of a tunnel should never need cutting"),
    "uncovered": (
        "they came out of a tunnel with a source that no node behind it has",
        "find out which program of this node feeds packets into the tunnel device",
    ),
    "no-way": ("no node has the address that they were sent to", "see whether the node of that range has gone"),
}
"""Reason of the counters -> what it means, and the cure."""

_REPORTED = (
    (re.compile(r"overlaps"), "overlap"),
    (re.compile(r"not on this link"), "not-adjacent"),
    (re.compile(r"no route leads to"), "no-way"),
    (re.compile(r"br_netfilter"), "br-netfilter"),
    (re.compile(r"another program has"), "foreign-route"),
)
"""What an agent says of itself, by the finding that it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong on a node. `peer`: the other node, if it is about one; `level`: error or warning."""

    id: str
    level: str
    node: str
    peer: str
    text: str
    cure: str

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "id": self.id,
            "level": self.level,
            "node": self.node,
            "peer": self.peer,
            "text": self.text,
            "cure": self.cure,
        }


def diagnose(seen: Symptoms) -> tuple[Finding, ...]:
    """What is wrong, errors first."""
    found = [*_trials(seen), *_filters(seen), *_forwarding(seen), *_interfaces(seen), *_overlaps(seen)]
    found += [*_foreign(seen), *_tracking(seen), *_drops(seen), *_reported(seen)]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.level, each.id, each.peer, each.text)))


def _trials(seen: Symptoms) -> Iterator[Finding]:
    """By peer: what is wrong with the link makes what goes wrong in a tunnel no news."""
    tried = [each for each in seen.trials if not any(each.to in route.destination for route in seen.foreign)]
    for peer in dict.fromkeys(trial.peer for trial in tried):
        here = [trial for trial in tried if trial.peer == peer]
        link = [trial for trial in here if trial.tunnel is None]
        if all(trial.most is None for trial in here):
            yield _unreachable(seen.node, here)
            continue
        if any(trial.most is not None for trial in link):
            yield from (_half_reached(seen.node, trial) for trial in link if trial.most is None)
        narrow = _narrowest(link)
        if narrow is not None:
            yield _narrow_link(seen.node, narrow, here)
        for tunnel in dict.fromkeys(trial.tunnel for trial in here if trial.tunnel is not None):
            through = [trial for trial in here if trial.tunnel == tunnel]
            yield from _tunnel(seen.node, tunnel, through, is_link_whole=narrow is None)


def _tunnel(node: str, tunnel: Tunnel, trials: list[Trial], *, is_link_whole: bool) -> Iterator[Finding]:
    if all(trial.most is None for trial in trials):
        yield _silent_tunnel(node, tunnel, trials[0])
        return
    yield from (_half_reached(node, trial) for trial in trials if trial.most is None)
    narrow = _narrowest(trials)
    if narrow is not None and is_link_whole:
        yield _narrow_tunnel(node, tunnel, narrow)


def _narrowest(trials: list[Trial]) -> Trial | None:
    narrow = [trial for trial in trials if trial.most is not None and trial.most < trial.asked]
    return min(narrow, key=lambda trial: trial.most or 0, default=None)


def _unreachable(node: str, trials: list[Trial]) -> Finding:
    where = ", ".join(dict.fromkeys(str(trial.to) for trial in trials))
    text = f"node {trials[0].peer} does not answer at {where}"
    cure = "see whether it is up, what `ip route get` says of the way there, and whether ICMP echo is let through"
    return Finding("unreachable", ERROR, node, trials[0].peer, text, cure)


def _half_reached(node: str, trial: Trial) -> Finding:
    by = (
        f"through {trial.tunnel.device}, though it does at another address"
        if trial.tunnel
        else "but at another address"
    )
    text = f"node {trial.peer} does not answer at {trial.to} {by}"
    cure = f"see what node {trial.peer} finds, and which filter there or between drops IPv{trial.to.version} packets"
    return Finding("half-reached", ERROR, node, trial.peer, text, cure)


def _silent_tunnel(node: str, tunnel: Tunnel, trial: Trial) -> Finding:
    told = f"node {trial.peer} is up, but answers nothing through {tunnel.kind} ({tunnel.device}, to {trial.to})"
    if trial.refused:
        text = f"{told}: nobody listens there on {tunnel.needs}"
        cure = f"see whether its agent runs, and with the same back end and {tunnel.needs}"
        return Finding(f"{tunnel.kind}-not-listening", ERROR, node, trial.peer, text, cure)
    text = f"{told}: {tunnel.needs} is closed between the two, in one direction or in both"
    cure = (
        f"open {tunnel.needs} between all nodes, in their firewalls and in the network; if it is open, see what node "
        f"{trial.peer} finds"
    )
    return Finding(f"{tunnel.kind}-closed", ERROR, node, trial.peer, text, cure)


def _narrow_link(node: str, trial: Trial, others: list[Trial]) -> Finding:
    text = f"packets to node {trial.peer} ({trial.to}) get through up to {trial.most} bytes, not {trial.asked}"
    headers = max((trial.asked - each.asked for each in others if each.tunnel), default=0)
    mtu = (trial.most or 0) - headers
    cure = f"raise the MTU of what lies between to {trial.asked}, or start all agents with --mtu {mtu}"
    return Finding("mtu-link", ERROR, node, trial.peer, text, cure)


def _narrow_tunnel(node: str, tunnel: Tunnel, trial: Trial) -> Finding:
    device = f"{tunnel.kind} ({tunnel.device})"
    text = f"packets of pods have up to {trial.asked} bytes, but through {device} node {trial.peer} gets {trial.most}"
    cure = f"start all agents with --mtu {trial.most}, or raise the MTU of what lies between the nodes"
    return Finding("mtu-tunnel", ERROR, node, trial.peer, text, cure)


def _filters(seen: Symptoms) -> Iterator[Finding]:
    for each in seen.arrivals:
        if each.source.version == 4 and each.device in seen.strict and each.back != each.device:
            text = (
                f"the reverse path filter of {each.device} is strict and drops what comes from {each.source} of node "
                f"{each.peer}, since the way back is by {each.back}"
            )
            cure = f"sysctl -w net.ipv4.conf.{each.device.replace('.', '/')}.rp_filter=2"
            yield Finding("rp-filter", ERROR, seen.node, each.peer, text, cure)


def _forwarding(seen: Symptoms) -> Iterator[Finding]:
    for version, where in sorted(seen.closed.items()):
        for name in sorted(where):
            place = "" if name == "all" else f" that come in by {name}"
            text = f"IPv{version} packets{place} are not forwarded, so pods reach nobody outside of this node"
            key = f"conf.{name.replace('.', '/')}.forwarding" if (version, name) != (4, "all") else "ip_forward"
            cure = f"sysctl -w net.ipv{version}.{key}=1, and see who switches it off in /etc/sysctl.d"
            yield Finding("forwarding", ERROR, seen.node, "", text, cure)


def _interfaces(seen: Symptoms) -> Iterator[Finding]:
    for each in seen.stated:
        if each.holder is None:
            text = f"others know this node by {each.address}, which no interface here has"
            cure = "correct the addresses of its Node object (kubelet --node-ip)"
            yield Finding("wrong-interface", ERROR, seen.node, "", text, cure)
        elif each.holder != each.used:
            text = (
                f"others know this node by {each.address} on {each.holder}, but it reaches node {each.peer} by "
                f"{each.used} from {each.source}"
            )
            cure = f"make {each.source} the node's address (kubelet --node-ip), or route the nodes by {each.holder}"
            yield Finding("wrong-interface", WARNING, seen.node, each.peer, text, cure)


def _overlaps(seen: Symptoms) -> Iterator[Finding]:
    for each in seen.on_link:
        yield _in_the_way(seen.node, each.device, each.network, each.node, each.range)


def _foreign(seen: Symptoms) -> Iterator[Finding]:
    for each in seen.foreign:
        known = _known(each.device)
        if each.protocol == _KERNEL and each.device and known is None:  # an interface in daily use
            yield _in_the_way(seen.node, each.device, each.destination, each.node, each.range)
            continue
        owner = known or _CALLED.get(each.protocol, f"protocol {each.protocol}")
        does = f"leads by {each.device}" if each.device else "rejects packets"
        against = f"stands against the pod range {each.range} of node {each.node}"
        text = f"the route {each.destination} of {owner} {does} and {against}"
        device = f" dev {each.device}" if each.device else ""
        act = f"ip link del {each.device}" if each.protocol == _KERNEL else f"ip route del {each.destination}{device}"
        cure = f"if that network is no longer used here: {act}"
        yield Finding("foreign-route", ERROR, seen.node, each.node, text, cure)


def _in_the_way(node: str, device: str, network: Network, whose: str, pods: Network) -> Finding:
    text = f"the pod range {pods} of node {whose} overlaps {network}, the network of {device}"
    return Finding("overlap", ERROR, node, whose, text, "give the pods other ranges than the networks of the nodes")


def _known(device: str | None) -> str | None:
    return next((who for start, who in _OWNERS.items() if (device or "").startswith(start)), None)


def _tracking(seen: Symptoms) -> Iterator[Finding]:
    count, most = seen.tracked
    if most and count >= most * _FULL:
        text = f"{count} of {most} connections are tracked; when the table is full, new ones are dropped"
        cure = f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}, or find out who opens so many"
        yield Finding("conntrack", ERROR if count >= most else WARNING, seen.node, "", text, cure)


def _drops(seen: Symptoms) -> Iterator[Finding]:
    for reason, count in seen.dropped:
        if count:
            why, cure = _DROPS.get(reason, (reason, "find out who sends them"))
            packets = "a packet has" if count == 1 else f"{count} packets have"
            yield Finding("dropped", WARNING, seen.node, "", f"{packets} been dropped at a tunnel: {why}", cure)


def _reported(seen: Symptoms) -> Iterator[Finding]:
    for each in seen.problems:
        text = f"{each.subject}: {each.text}" if each.subject else each.text
        id_ = next((name for words, name in _REPORTED if words.search(text)), "reported")
        peer = each.subject.removeprefix("node ") if each.subject.startswith("node ") else ""
        yield Finding(id_, ERROR, seen.node, peer, text, "")


def published(node: str, state: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """What the state that an agent published says is wrong; None: it has published none."""
    if state is None:
        text, cure = "no agent has reported from there", "see whether the DaemonSet runs on it (kubectl -n kube-system)"
        return (Finding("no-agent", ERROR, node, "", text, cure),)
    told = [Problem("", text) for text in (state.get("lastError"), *state.get("problems", ())) if text]
    return diagnose(Symptoms(node, problems=tuple(told)))
