"""How a local pod hangs on its node."""

from dataclasses import dataclass

from vallum.model.address import Address, Network, Packed
from vallum.model.objects import PodId


@dataclass(frozen=True, slots=True, order=True)
class Attachment:
    """A local pod, the device of the node that its packets come from, and its addresses.

    `port`: where that device is another program's bridge, the pod's own link on it; empty while nobody knows it.
    `bridged` tells the two apart.
    """

    pod: PodId
    interface: str
    addresses: tuple[Packed, ...]
    bridged: bool = False
    port: str = ""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What a plane must know of the node it runs on: its name, attachments and own addresses.

    `closed`: ranges in which nothing but these pods and the node itself may send or receive (stance 17).
    """

    name: str
    attachments: tuple[Attachment, ...] = ()
    addresses: frozenset[Packed] = frozenset()
    closed: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class PodAttachment:
    """What one CNI ADD made, as it can be read back from the kernel.

    `container` (the runtime's id of the sandbox) and `ifname` (the name inside) tell it from every other. Read back, a
    name or id that is too long for the kernel is shortened (`cni.attached.shortened`). `uid` is empty where the runtime
    does not tell it.
    """

    pod: PodId
    uid: str
    container: str
    ifname: str
    interface: str
    addresses: tuple[Address, ...]
