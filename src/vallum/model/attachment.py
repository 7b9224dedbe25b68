"""How a local pod hangs on its node."""

from dataclasses import dataclass

from vallum.model.address import Network, Packed
from vallum.model.objects import PodId


@dataclass(frozen=True, slots=True, order=True)
class Attachment:
    """A local pod, the host side of its link, and its addresses."""

    pod: PodId
    interface: str
    addresses: tuple[Packed, ...]


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What a plane must know of the node it runs on: its name, attachments and own addresses.

    `closed`: ranges in which nothing but these pods and the node itself may send or receive (stance 17).
    """

    name: str
    attachments: tuple[Attachment, ...] = ()
    addresses: frozenset[Packed] = frozenset()
    closed: tuple[Network, ...] = ()
