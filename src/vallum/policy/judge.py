"""The oracle: one packet against the Ruleset, rule by rule, with the reason. Every plane must agree with it.

Linear on purpose: short enough to be read beside docs/semantics.md. Tables and planes are fast; this is right.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from vallum.model.address import Packed, show
from vallum.model.objects import PROTOCOL_NAMES
from vallum.model.packet import PORTED, Direction, Packet
from vallum.policy.ruleset import Local, PortMatch, Rule, Ruleset, Side, Way
from vallum.policy.verdict import Reason, Verdict, Why

SideJudge = Callable[[Local, Way, Packed, Packet], Why]
"""Judges one isolated or open side of a local pod against the remote address of a packet."""


class Judge:
    """Answers packets against one Ruleset by scanning the rules of both sides."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self.owners = ruleset.owners()

    def __call__(self, packet: Packet) -> Verdict:
        """Whether the packet passes, and why."""
        return judge_flow(self.owners, packet, partial(_scan, self._ruleset))


def judge(ruleset: Ruleset, packet: Packet) -> Verdict:
    """Whether one packet passes, and why. For many packets make a `Judge` once."""
    return Judge(ruleset)(packet)


def judge_flow(owners: Mapping[Packed, Local], packet: Packet, side: SideJudge) -> Verdict:
    """What holds before any rule is asked: spoofing, direction, self, own node; `side` decides the rest.

    Tables use it with another `side`, so that both share the frame and differ in how rules are found.
    """
    claimed = owners.get(packet.source)
    if claimed is None:
        foreign = packet.sender is not None and any(packet.sender == local.pod for local in owners.values())
    else:
        foreign = packet.sender != claimed.pod
    if foreign:
        return _spoofed(packet)
    if packet.is_icmp_error and packet.known_flow:
        why = Why(Reason.ICMP_ERROR, "an ICMP error of a flow that is tracked always passes")
        return Verdict(why, why)
    match packet.direction:
        case Direction.ORIGINAL:
            return _oriented(owners, packet, side)
        case Direction.REPLY:
            return _oriented(owners, mirrored(packet), side)
        case Direction.NONE:  # stance 13: without a direction it passes if either way round is allowed
            forward = _oriented(owners, packet, side)
            if packet.is_icmp_error:  # of no known flow: it answers nothing (stance 15)
                return forward
            return forward if forward.allow else _better(forward, _oriented(owners, mirrored(packet), side))


def mirrored(packet: Packet) -> Packet:
    """The packet of the flow's original direction that this one would answer."""
    return replace(
        packet,
        source=packet.destination,
        destination=packet.source,
        sport=packet.dport,
        dport=packet.sport,
    )


def _better(forward: Verdict, backward: Verdict) -> Verdict:
    return backward if backward.allow else forward


def _spoofed(packet: Packet) -> Verdict:
    who = str(packet.sender) if packet.sender else "something that is not that pod"
    text = f"{who} sent a packet from {show(packet.source)}, which is not its address"
    return Verdict(Why(Reason.OUTSIDE, "never got there"), Why(Reason.SPOOFED, text))


def _oriented(owners: Mapping[Packed, Local], packet: Packet, side: SideJudge) -> Verdict:
    source, target = owners.get(packet.source), owners.get(packet.destination)
    if source is not None and source is target:
        why = Why(Reason.SELF, f"{source.pod} reaches itself always")
        return Verdict(why, why)
    outside = Why(Reason.OUTSIDE, "this end is no pod of ours")
    egress = side(source, Way.EGRESS, packet.destination, packet) if source else outside
    if target is None:
        return Verdict(outside, egress)
    if packet.source in target.host:
        return Verdict(Why(Reason.OWN_NODE, f"its own node reaches {target.pod} always"), egress)
    return Verdict(side(target, Way.INGRESS, packet.source, packet), egress)


def side_of(local: Local, way: Way) -> Side:
    """The side of a pod in one direction."""
    return local.ingress if way is Way.INGRESS else local.egress


def _scan(ruleset: Ruleset, local: Local, way: Way, remote: Packed, packet: Packet) -> Why:
    side = side_of(local, way)
    if not side.isolated:
        return Why(Reason.NOT_ISOLATED, f"no policy isolates {local.pod} for {way}")
    for rule in side.rules:
        if _port_fits(rule, packet) and _peer_fits(ruleset, rule, remote):
            return Why(Reason.RULE, f"{rule.why} allows it", side.policies, rule.why)
    names = ", ".join(map(str, side.policies))
    verb = "isolates" if len(side.policies) == 1 else "isolate"
    text = f"{names} {verb} {local.pod} for {way} and no rule allows {_what(packet)}"
    return Why(Reason.ISOLATED, text, side.policies)


def _what(packet: Packet) -> str:
    name = PROTOCOL_NAMES.get(packet.protocol, f"protocol {packet.protocol}")
    return f"{name} port {packet.dport}" if packet.protocol in PORTED else name


def _peer_fits(ruleset: Ruleset, rule: Rule, remote: Packed) -> bool:
    return rule.peers is None or any(ruleset.sets.holds(id_, remote) for id_ in rule.peers)


def _port_fits(rule: Rule, packet: Packet) -> bool:
    return rule.ports is None or any(covers(port, packet.protocol, packet.dport) for port in rule.ports)


def covers(match: PortMatch, protocol: int, port: int) -> bool:
    """Reports whether a port match includes this protocol and port."""
    return match.protocol == protocol and match.first <= port <= match.last
