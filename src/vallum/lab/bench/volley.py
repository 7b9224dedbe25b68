"""Fire at many addresses from several pods without a pause: the first packets of flows, TCP and UDP, allowed or not.

Run as a process of its own (`python -m vallum.lab.bench.volley`), because whoever measures must not wait for it. Lines
of JSON come in: first who shoots, from which namespace, then again and again at whom; the end of input ends it, and it
says how much it sent. The flows of an address stay the same ones, so that what was remembered of them for an earlier
owner of the address would show. What it ignores: answers.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from vallum.kernel import netns
from vallum.lab import wire
from vallum.model.address import Address
from vallum.model.errors import KernelError
from vallum.model.objects import TCP, UDP

SWEEP = 0.002
"""Seconds from the start of one sweep over all targets to the next, where the machine keeps up."""
_PORTS = {UDP: (40000, 9), TCP: (40001, 80)}
_IPV6_HDRINCL = 36
_READY = "ready\n"


@dataclass(frozen=True, slots=True)
class Shooter:
    """A pod that shoots. `place`: the file of its network namespace."""

    place: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """What was sent: datagrams and SYNs, and sweeps over all targets."""

    packets: int
    sweeps: int


class Volley:
    """The process, as its parent sees it."""

    def __init__(self, shooters: Sequence[Shooter]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vallum.lab.bench.volley"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say([asdict(each) for each in shooters])
        assert self._process.stdout is not None
        if self._process.stdout.readline() != _READY:
            raise KernelError("the fire cannot begin")

    def aim(self, targets: Sequence[Address]) -> None:
        """From now on these."""
        self._say([str(each) for each in targets])

    def cease(self) -> Spent:
        """End it. Raises KernelError when it ended by itself."""
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise KernelError(f"the fire ended with status {self._process.returncode}")
        return Spent(**json.loads(said))

    def _say(self, words: list[Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise KernelError("the fire has ended") from None


@contextmanager
def burning(shooters: Sequence[Shooter]) -> Iterator[Volley]:
    """A volley that does not outlive the block."""
    volley = Volley(shooters)
    try:
        yield volley
    finally:
        volley.cease()


def shots(sources: Sequence[Address], target: Address) -> Iterator[bytes]:
    """The packets with which a pod of these addresses shoots at a target. Pure."""
    for source in sources:
        if source.version == target.version:
            for protocol, ports in _PORTS.items():
                body = wire.transport(source, target, protocol, ports, b"volley")
                yield wire.ip_packet(source, target, protocol, body)


class _Gun:
    """The sockets of one shooter, and the packets that it has made before."""

    def __init__(self, shooter: Shooter) -> None:
        self._addresses = tuple(ip_address(each) for each in shooter.addresses)
        self._made: dict[Address, list[bytes]] = {}
        descriptor = os.open(Path(shooter.place), os.O_RDONLY | os.O_CLOEXEC)
        with netns.entered(descriptor):
            self._sockets = {version: _raw(version) for version in (4, 6)}
        os.close(descriptor)

    def loaded(self, target: Address) -> list[tuple[socket.socket, bytes, tuple[str, int]]]:
        if target not in self._made:
            self._made[target] = list(shots(self._addresses, target))
        return [(self._sockets[target.version], shot, (str(target), 0)) for shot in self._made[target]]


def _raw(version: int) -> socket.socket:
    made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.setblocking(False)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    return made


def _main() -> None:
    with open(0, "rb", buffering=0, closefd=False) as words:  # unbuffered: what follows is read as it comes
        guns = [_Gun(Shooter(**each)) for each in json.loads(words.readline())]
    sys.stdout.write(_READY)
    sys.stdout.flush()
    loaded: list[tuple[socket.socket, bytes, tuple[str, int]]] = []
    packets = sweeps = 0
    rest = b""
    while True:
        started = time.monotonic()
        for gun, shot, target in loaded:
            try:
                gun.sendto(shot, target)
            except OSError:  # no way there yet, or no room
                continue
            packets += 1
        sweeps += bool(loaded)
        if select.select([0], [], [], max(0.0, started + SWEEP - time.monotonic()))[0]:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines[-1:]:
                targets = [ip_address(each) for each in json.loads(line)]
                loaded = [each for gun in guns for target in targets for each in gun.loaded(target)]
    json.dump({"packets": packets, "sweeps": sweeps}, sys.stdout)


if __name__ == "__main__":
    _main()
