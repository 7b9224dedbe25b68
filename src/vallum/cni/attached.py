"""Which pods are attached to this node, read back from the kernel: there is no other record of it.

A link's name is a hash of container id and interface name, and its MAC says the same, so that ours are known by
themselves. Its alias names pod and container and is the last thing that an ADD writes: a link without one is half made.
The addresses are those of the host routes to it. It ignores pods that another CNI plugin attached.
"""

from dataclasses import dataclass
from errno import ENODEV
from hashlib import blake2b

from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import HeldRoute, Link, Rtnetlink
from vallum.model.address import Address
from vallum.model.attachment import PodAttachment
from vallum.model.objects import PodId

PREFIX = "vp"
_MARK = "vallum"
_LIMITS = {"container": 64, "uid": 36, "namespace": 63, "name": 66}
"""Bytes of each in the alias, which with an interface name of 15 holds 255."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything of ours on this node. `half_made`: interfaces of an ADD that did not come to its end."""

    complete: tuple[PodAttachment, ...]
    half_made: tuple[str, ...]


def interface_name(container: str, ifname: str) -> str:
    """The node's end of the link of this attachment."""
    return PREFIX + blake2b(f"{container}\0{ifname}".encode(errors="replace"), digest_size=6).hexdigest()


def macs(interface: str) -> tuple[str, str]:
    """The MAC of the node's end, and of the pod's, for an interface name of ours."""
    digest = interface.removeprefix(PREFIX)
    tail = ":".join(digest[at : at + 2] for at in range(0, 10, 2))
    return f"02:{tail}", f"06:{tail}"


def shortened(pod: PodId) -> PodId:
    """The pod as an alias names it: names that are too long end in a hash, and `~` tells them from every real one."""
    return PodId(_short(pod.namespace, "namespace"), _short(pod.name, "name"))


def alias_of(attachment: PodAttachment) -> str:
    """What is written on the link, once everything else is done."""
    container, uid = _short(attachment.container, "container"), _short(attachment.uid, "uid") or "-"
    return " ".join((_MARK, container, attachment.ifname, uid, str(shortened(attachment.pod))))


def read(host: Rtnetlink) -> Standing:
    """All attachments. Raises KernelError."""
    by_device: dict[str | None, list[HeldRoute]] = {}
    for held in host.routes():
        by_device.setdefault(held.route.device, []).append(held)
    complete, half_made = [], []
    for link in host.links():
        if not is_ours(link):
            continue
        attachment = _attachment(link, by_device.get(link.name, []))
        if attachment is None:
            half_made.append(link.name)
        else:
            complete.append(attachment)
    return Standing(tuple(sorted(complete)), tuple(sorted(half_made)))


def find(host: Rtnetlink, container: str, ifname: str) -> PodAttachment | None:
    """The attachment of just this container, half made included; None where there is none. Raises KernelError.

    Another container whose hash is the same is never taken for this one.
    """
    name = interface_name(container, ifname)
    try:
        link = host.link(name)
        routes = list(host.routes(name))
    except RequestError as error:
        if error.errno == ENODEV:
            return None
        raise
    if not is_ours(link):
        return None
    found = _attachment(link, routes)
    if found is None:
        return PodAttachment(PodId("", ""), "", container, ifname, name, _addresses(routes))
    return found if (found.container, found.ifname) == (_short(container, "container"), ifname) else None


def is_ours(link: Link) -> bool:
    """Reports whether name and MAC say the same, as only those that we made do, or the alias says it."""
    named = link.name.startswith(PREFIX) and len(link.name) == len(PREFIX) + 12
    return named and (link.mac == macs(link.name)[0] or link.alias.startswith(f"{_MARK} "))


def _attachment(link: Link, routes: list[HeldRoute]) -> PodAttachment | None:
    words = link.alias.split(" ")
    if len(words) != 5 or words[0] != _MARK:
        return None
    _, container, ifname, uid, pod = words
    namespace, _, name = pod.partition("/")
    addresses = _addresses(routes)
    return PodAttachment(PodId(namespace, name), uid.removeprefix("-"), container, ifname, link.name, addresses)


def _addresses(routes: list[HeldRoute]) -> tuple[Address, ...]:
    """Those of the host routes, IPv4 first."""
    found = {
        held.route.destination.network_address
        for held in routes
        if held.route.destination.num_addresses == 1 and held.route.gateway is None
    }
    return tuple(sorted(found, key=lambda address: (address.version, int(address))))


def _short(text: str, kind: str) -> str:
    limit = _LIMITS[kind]
    if len(text.encode(errors="replace")) <= limit:
        return text
    digest = blake2b(text.encode(errors="replace"), digest_size=6).hexdigest()
    return text.encode(errors="replace")[: limit - 13].decode(errors="ignore") + "~" + digest
