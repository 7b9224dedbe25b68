"""Probes as packets for the pure judges."""

from dataclasses import replace

from vallum.analysis.probe import Ends, parse
from vallum.model.packet import Direction, Packet
from vallum.model.snapshot import Snapshot
from vallum.policy.judge import mirrored
from worlds import Probe

_LAST: dict[str, tuple[Snapshot, Ends]] = {}
"""Many packets are asked of one world: its ends are worked out once."""


def packet_of(snapshot: Snapshot, probe: Probe, direction: Direction = Direction.ORIGINAL) -> Packet:
    """The probe's packet; of a reply the ends are swapped, and the answering end is the sender."""
    if "ends" not in _LAST or _LAST["ends"][0] is not snapshot:
        _LAST["ends"] = snapshot, Ends(snapshot)
    ends = _LAST["ends"][1]
    packet = replace(ends.packet(parse(probe.line(0))), direction=direction)
    if direction is not Direction.REPLY:
        return packet
    return replace(mirrored(packet), sender=ends.end(str(probe.target)).pod)
