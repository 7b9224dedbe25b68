"""IPv4 in IPv4 on this kernel: which driver it can run, and the tunnel device of the driver `bpf` made as planned.

The links hold the programs and the programs their maps, so that traffic flows on when the agent dies; the next agent
puts programs of its own in their place at one instant, and no file system holds anything. At most one such device a
node. What it ignores: its addresses and routes, and the kernel's own ipip device (`sync`).
"""

import socket
import struct
from dataclasses import dataclass
from errno import EEXIST, EPERM
from functools import cache
from ipaddress import ip_address, ip_network

from vallum.kernel import ipip_maps, tc, tunnels
from vallum.kernel.bpf import build
from vallum.kernel.bpf.objects import LoadError, Object, run
from vallum.kernel.ipip_tunnel import CARRY, END, PROGRAMS, UNWRAP, Notes, Tunnel
from vallum.kernel.netlink import CREATE, EXCL, RequestError
from vallum.kernel.rtmessages import NEWLINK
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import Address
from vallum.model.errors import KernelError
from vallum.model.wiring import DEVICE_PREFIX, Carried, Ipip, Origin, Problem, Wiring

KERNEL, BPF = "kernel", "bpf"
"""Drivers, as in `wiring.Ipip`."""

_SO_NETNS_COOKIE = 71
_REDIRECT = 7
"""TC_ACT_REDIRECT."""
_TRIAL = "vallum.trial"
_tunnels: dict[int, Tunnel] = {}
"""By namespace. What a process has loaded ends with it, or stays in the kernel by what is attached."""


@dataclass(frozen=True, slots=True)
class IpipReport:
    """What was changed, and of that what somebody else had changed before (`drift`), in words."""

    changed: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def sync_bpf(netlink: Rtnetlink, wiring: Wiring, *, read: bool = True) -> IpipReport:
    """Sync the device of driver `bpf` in the namespace of the calling thread, or sweep it where none is planned.

    Args:
        netlink: open in that namespace.
        wiring: its devices, `carried` and `origins` are what counts here.
        read: False: what stood after the last sync stands, so that only what the wish changed is done.

    A refusal is a problem of the device.
    """
    notes = Notes()
    device = next((one for one in wiring.devices if isinstance(one, Ipip) and one.driver == BPF), None)
    try:
        if device is not None:
            _tunnel().stand(netlink, device, wiring, notes, read=read)
        elif read or _namespace() in _tunnels:
            _sweep(netlink, notes)
    except KernelError as error:
        subject = f"device {device.name if device else DEVICE_PREFIX + '*'}"
        notes.problems.append(Problem(subject, f"ipip by programs: {error}"))
    return IpipReport(tuple(notes.changed), tuple(notes.drift), tuple(notes.problems))


def counts() -> dict[str, int]:
    """Packets that the programs of this process dropped, by reason, in the namespace of the calling thread."""
    tunnel = _tunnels.get(_namespace())
    return {} if tunnel is None else tunnel.drops()


@cache
def driver() -> tuple[str, str]:
    """The driver that this kernel can run and nothing, or nothing and why there is none. Tried once.

    A kernel that has ipip as a module loads it for this question.
    """
    try:
        if _has_device():
            return KERNEL, ""
        _try_programs()
    except KernelError as error:
        missing = isinstance(error, LoadError | RequestError) and error.errno == EPERM
        cure = "; it takes CAP_NET_ADMIN and CAP_BPF outside of user namespaces" if missing else ""
        return "", f"this kernel has no ipip device, and programs in its place: {error}{cure}"
    return BPF, ""


def _tunnel() -> Tunnel:
    here = _namespace()
    if here not in _tunnels:
        _tunnels[here] = Tunnel()
    return _tunnels[here]


def _sweep(netlink: Rtnetlink, notes: Notes) -> None:
    """The pair and the programs, whoever made them."""
    names = [one.name for one in netlink.links()]
    for name in names:
        if name.startswith(DEVICE_PREFIX) and name.endswith(END):
            netlink.delete_link(name)
            notes.note(f"device {name.removesuffix(END)}", None)
    for one in tc.attached(netlink):
        if one.name in PROGRAMS.values():
            tc.detach(netlink, one)
            notes.note(f"program {one.name}", None)
    if (tunnel := _tunnels.pop(_namespace(), None)) is not None:
        tunnel.close()


def _namespace() -> int:
    """The kernel's number of the calling thread's namespace, which no other has before the next boot (Linux 5.14)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handle:
        return int(struct.unpack("=Q", handle.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])


def _has_device() -> bool:
    """Make an ipip device with a local address for documents (RFC 5737), and delete it."""
    trial = tunnels.made(Ipip(_TRIAL, KERNEL, 1280, ip_address("192.0.2.1")))
    with Rtnetlink() as netlink:
        try:
            netlink.request("make an ipip device", NEWLINK, trial, CREATE | EXCL)
        except RequestError as error:
            if error.errno == EPERM:
                raise
            return error.errno == EEXIST
        netlink.delete_link(_TRIAL)
    return True


def _try_programs() -> None:
    """Load them, and let each have a packet: kernels before 6.3 refuse to take a header off only then."""
    here, there, inside = (ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "198.51.100.1"))
    inner = ip_network("198.51.100.0/24")
    bare = _ip(inside, inside, 17, bytes(8))
    with Object(build.compiled("ipip")) as trial:
        trial.map("vallum_own").update(ipip_maps.OWN_KEY, ipip_maps.own(here, 1, "02:00:00:00:00:00"))
        trial.map("vallum_ways").update_all(ipip_maps.ways([Carried("", inner, there)], {there: 1}))
        trial.map("vallum_origins").update_all(ipip_maps.origins([Origin("", there, inner)]))
        for name, packet in ((CARRY, bare), (UNWRAP, _ip(there, here, 4, bare))):
            if run(trial.program(name), _ETHERNET + packet)[0] != _REDIRECT:
                raise KernelError(f"{name} does not run (Linux 6.3 or newer has all that it takes)")


_ETHERNET = bytes(12) + b"\x08\x00"


def _ip(source: Address, destination: Address, protocol: int, body: bytes) -> bytes:
    """A packet without a checksum, which the programs do not look at."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return head + source.packed + destination.packed + body
