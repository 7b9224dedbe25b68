"""A link with a rate: a token bucket (tc-tbf) in place of the queue by which packets leave.

After linux/pkt_sched.h. A packet that is still to be segmented counts as the wire would: with the headers of every
segment. What it ignores: every other queueing discipline, and what arrives.
"""

import struct
from dataclasses import dataclass

from vallum.kernel.netlink import CREATE, REPLACE, attribute
from vallum.kernel.rtnetlink import Rtnetlink

_NEWQDISC, _DELQDISC = 36, 37
_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS, _PARMS, _RATE64, _BURST = 1, 2, 1, 4, 6
_ETHERNET = 1
_MOST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Bucket:
    """Bytes a second; bytes that leave at once, at least the largest packet; bytes that wait before more is lost."""

    rate: int
    burst: int
    limit: int


def shape(netlink: Rtnetlink, device: str, bucket: Bucket) -> None:
    """Give a link this rate, in place of one that it has. Raises RequestError."""
    rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(bucket.rate, _MOST))
    parms = rate + bytes(len(rate)) + struct.pack("=III", bucket.limit, 0, 0)
    options = attribute(_PARMS, parms) + attribute(_BURST, struct.pack("=I", bucket.burst))
    options += attribute(_RATE64, struct.pack("=Q", bucket.rate))
    body = attribute(_KIND, b"tbf\0") + attribute(_OPTIONS, options)
    netlink.request(f"shape {device}", _NEWQDISC, _root(netlink, device) + body, CREATE | REPLACE)


def unshape(netlink: Rtnetlink, device: str) -> None:
    """Take the rate off again. Raises RequestError, also where there is none."""
    netlink.request(f"take the rate off {device}", _DELQDISC, _root(netlink, device))


def _root(netlink: Rtnetlink, device: str) -> bytes:
    return struct.pack("=BxxxiIII", 0, netlink.link(device).index, 0, _ROOT, 0)
