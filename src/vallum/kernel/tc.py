"""Programs at the two doors of an interface (clsact, linux/pkt_cls.h): attached, told and detached over rtnetlink.

The interface holds the program from then on, whoever loaded it may die. A program that stands at the same place is
replaced at one instant. What it ignores: classes, queues, and filters that are no programs.
"""

import socket
import struct
import sys
from dataclasses import dataclass

from vallum.kernel.bpf.objects import Program
from vallum.kernel.netlink import CREATE, Netlink, attribute, attributes

INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
"""Where packets come in from the wire, and where they leave to it."""
PRIORITY = 86
"""Of all filters of ours among those of others."""

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWFILTER, _DELFILTER, _GETFILTER = 44, 45, 46
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_HANDLE, _ALL = 1, 0x0003
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_OURS = "vallum"
_MESSAGE = struct.Struct("=BxxxiIII")
_HEADER = 16


@dataclass(frozen=True, slots=True)
class Attached:
    """A program of ours at one door of an interface (`index`); `number`: the kernel's id of it."""

    index: int
    door: int
    name: str
    number: int


def attach(netlink: Netlink, index: int, door: int, program: Program) -> None:
    """Put a program at a door, in place of ours that stands there. Raises RequestError."""
    where = f"attach program {program.name} to interface {index}"
    qdisc = _MESSAGE.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + attribute(_KIND, b"clsact\0")
    netlink.request(where, _NEWQDISC, qdisc, CREATE)
    options = attribute(_BPF_FD, struct.pack("=I", program.descriptor))
    options += attribute(_BPF_NAME, program.name.encode() + b"\0")
    options += attribute(_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
    body = attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, options)
    netlink.request(where, _NEWFILTER, _filter(index, door) + body, CREATE)


def detach(netlink: Netlink, one: Attached) -> None:
    """Take a program of ours away, and the doors as well where nobody's filter is left. Raises RequestError."""
    where = f"detach program {one.name} from interface {one.index}"
    netlink.request(where, _DELFILTER, _filter(one.index, one.door))
    if not any(_filters(netlink, one.index, door) for door in (INGRESS, EGRESS)):
        netlink.request(where, _DELQDISC, _MESSAGE.pack(0, one.index, _CLSACT_HANDLE, _CLSACT, 0))


def attached(netlink: Netlink) -> tuple[Attached, ...]:
    """Every program of ours in this namespace. Raises RequestError."""
    told = netlink.dump("read queueing disciplines", _GETQDISC, _MESSAGE.pack(0, 0, 0, 0, 0))
    doors = {
        index for index, parent, found in map(_read, told) if parent == _CLSACT and found.get(_KIND) == b"clsact\0"
    }
    return tuple(
        one
        for index in sorted(doors)
        for door in (INGRESS, EGRESS)
        for one in map(_of_ours, _filters(netlink, index, door))
        if one is not None
    )


Told = tuple[int, int, dict[int, bytes]]
"""Interface, parent and attributes of a queue or a filter."""


def _filters(netlink: Netlink, index: int, door: int) -> list[Told]:
    """Messages without options only announce that there is a chain."""
    told = netlink.dump(f"read filters of interface {index}", _GETFILTER, _MESSAGE.pack(0, index, 0, door, 0))
    return [one for one in map(_read, told) if one[0] == index and _OPTIONS in one[2]]


def _of_ours(told: Told) -> Attached | None:
    index, door, found = told
    options = dict(attributes(found[_OPTIONS]))
    name = options.get(_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
    if not name.startswith(_OURS):
        return None
    return Attached(index, door, name, int.from_bytes(options.get(_BPF_ID, b""), sys.byteorder))


def _read(message: bytes) -> Told:
    _, index, _, parent, _ = _MESSAGE.unpack_from(message, _HEADER)
    return index, parent, dict(attributes(message[_HEADER + _MESSAGE.size :]))


def _filter(index: int, door: int) -> bytes:
    return _MESSAGE.pack(0, index, _HANDLE, door, PRIORITY << 16 | socket.htons(_ALL))
