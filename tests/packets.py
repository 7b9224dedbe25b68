"""Probes as packets for the pure judges."""

from dataclasses import replace

from vallum.model.address import Packed, pack, parse
from vallum.model.objects import ICMP, ICMPV6, PodId
from vallum.model.packet import Direction, Packet
from vallum.model.snapshot import Snapshot
from worlds import Probe


def packet_of(snapshot: Snapshot, probe: Probe, direction: Direction = Direction.ORIGINAL) -> Packet:
    """The probe's packet. For another direction than the original one the ends are swapped accordingly."""
    source, target = (_end(snapshot, end, probe.family) for end in (probe.source, probe.target))
    sender = probe.source if isinstance(probe.source, PodId) else None
    protocol = ICMPV6 if probe.protocol == ICMP and probe.family == 6 else probe.protocol
    packet = Packet(source, target, protocol, probe.port, 40000 if probe.port else 0, direction, sender)
    if direction is not Direction.REPLY:
        return packet
    replier = probe.target if isinstance(probe.target, PodId) else None
    return replace(packet, source=target, destination=source, sport=packet.dport, dport=packet.sport, sender=replier)


def _end(snapshot: Snapshot, end: PodId | str, family: int) -> Packed:
    if isinstance(end, PodId):
        return next(pack(a) for a in snapshot.pods[end].addresses if a.version == family)
    return parse(end)
