"""Attaches a pod as a container runtime does: a namespace of its own, and the plugin's program run with ADD and DEL.

Beside it stands an ear: a packet socket that is in the pod's namespace before any link is, so that it hears whatever
the pod is sent from its first moment, allowed or not. What it ignores: containers; whoever wants one asks a kubelet.
"""

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from vallum.kernel import netns
from vallum.model.address import Address
from vallum.model.errors import KernelError

IFNAME = "eth0"
_EVERY_PROTOCOL = 0x0003
_ROOM_BY_FORCE, _ROOM = 33, 1 << 25
_STAMPS, _STAMP = 35, struct.Struct("=qq")
"""SO_TIMESTAMPNS: the kernel's own time of arrival."""
_PACKET, _STATISTICS = 263, 6
_OUTGOING = 4
_FROM_4, _FROM_6 = slice(12, 16), slice(8, 24)
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a runtime says of a pod when it calls a plugin. `place`: the name of its network namespace."""

    place: str
    container: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""

    def environment(self, verb: str, plugins: Path) -> dict[str, str]:
        """The variables of a call (CNI specification, section 2)."""
        told = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": self.namespace, "K8S_POD_NAME": self.pod}
        told |= {"K8S_POD_INFRA_CONTAINER_ID": self.container, "K8S_POD_UID": self.uid}
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": str(netns.FOLDER / self.place),
            "CNI_IFNAME": IFNAME,
            "CNI_ARGS": ";".join(f"{name}={value}" for name, value in told.items()),
            "CNI_PATH": str(plugins),
            "PATH": os.environ.get("PATH", ""),
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A call that came back. Seconds of time.monotonic; `addresses` are the pod's."""

    began: float
    ended: float
    addresses: tuple[Address, ...] = ()

    @property
    def milliseconds(self) -> float:
        """How long the plugin's program ran, its start included."""
        return 1000 * (self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin as one node has it. `home`: the node's network namespace."""

    folder: Path
    home: str
    config: Mapping[str, Any]

    def add(self, sandbox: Sandbox) -> Call:
        """Attach. Raises KernelError with what the plugin says."""
        began, text = self._run("ADD", sandbox)
        ended = time.monotonic()
        found = json.loads(text)["ips"]
        return Call(began, ended, tuple(ip_interface(each["address"]).ip for each in found))

    def delete(self, sandbox: Sandbox) -> Call:
        """Detach. Raises KernelError."""
        began, _ = self._run("DEL", sandbox)
        return Call(began, time.monotonic())

    def _run(self, verb: str, sandbox: Sandbox) -> tuple[float, bytes]:
        with netns.entered(self.home):
            began = time.monotonic()
            process = subprocess.Popen(
                [self.folder / self.config["type"]],
                env=sandbox.environment(verb, self.folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        out, problem = process.communicate(json.dumps(self.config).encode(), _PATIENCE)
        if process.returncode:
            raise KernelError(f"{self.config['type']} {verb} {sandbox.pod}: {(out or problem).decode().strip()}")
        return began, out


def first_of(conflist: Path, folder: Path, home: str) -> Plugin:
    """The first plugin of a conflist, with the configuration that a runtime makes of it."""
    whole = json.loads(conflist.read_text(encoding="utf-8"))
    config = {key: value for key, value in whole["plugins"][0].items() if key != "capabilities"}
    return Plugin(folder, home, config | {"name": whole["name"], "cniVersion": whole["cniVersion"]})


class Ear:
    """Hears every IP packet that comes into a namespace, from the moment it is made, whatever links come later.

    Args:
        place: a namespace by name, or a descriptor of one.
    """

    def __init__(self, place: str | int) -> None:
        with netns.entered(place):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY_PROTOCOL))
        self._socket.setsockopt(socket.SOL_SOCKET, _ROOM_BY_FORCE, _ROOM)
        self._socket.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
        self._socket.setblocking(False)
        self._offset = time.monotonic() - time.clock_gettime(time.CLOCK_REALTIME)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def heard(self) -> Iterator[tuple[float, Address]]:
        """Time of arrival (time.monotonic) and source of each packet since the last call."""
        while True:
            try:
                data, extra, _, sender = self._socket.recvmsg(64, 64)
            except BlockingIOError:
                return
            source = _source(sender[1], data)
            if source is not None and sender[2] != _OUTGOING:
                seconds, nanoseconds = _STAMP.unpack_from(extra[0][2])
                yield seconds + nanoseconds / 1e9 + self._offset, source

    def missed(self) -> int:
        """Packets for which there was no room since the last call."""
        return int(struct.unpack("II", self._socket.getsockopt(_PACKET, _STATISTICS, 8))[1])


def _source(protocol: int, packet: bytes) -> Address | None:
    match protocol:
        case 0x0800:
            return ip_address(packet[_FROM_4])
        case 0x86DD:
            return ip_address(packet[_FROM_6])
    return None
