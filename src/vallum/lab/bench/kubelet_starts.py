"""Pods started under fire by a kubelet, the whole road. An ear is put into each network namespace as it appears.

The runtime makes the namespace and then calls the plugin; a thread looks for new ones all the time. An ear that came
later than the pod's link is not counted as one from the first moment. What it ignores: the life of containers.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread

from vallum.kernel import netns
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.bench import arms
from vallum.lab.bench.attach import IFNAME, Ear
from vallum.lab.bench.kubesite import namespaces_of
from vallum.lab.bench.starts import Ground, Start
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import until
from vallum.lab.kube.layout import NodeLayout
from vallum.model.address import Address, Packed, pack
from vallum.model.errors import KernelError

AT_ONCE = 10
_AHEAD = 2 * AT_ONCE
_PATIENCE = 120.0


def series(cluster: KubeCluster, node: NodeLayout, ground: Ground, last: Address, count: int) -> list[Start]:
    """So many pods, a few at once. `last`: the IPv4 address that the node gave last. Raises KernelError."""
    found: list[Start] = []
    for begin in range(0, count, AT_ONCE):
        numbers = range(begin, min(count, begin + AT_ONCE))
        wanted = {f"real-{number}": tuple(arms.ADMITS)[number % 2] for number in numbers}
        targets = arms.ahead(node.pod_ranges[0], last, _AHEAD)
        ground.volley.aim(targets)
        made = [arms.by_kubelet(name, kind, node.name) for name, kind in wanted.items()]
        with _listening(namespaces_of(node)) as ears:
            cluster.api.apply(made)
            running = cluster.wait_ready(made, _PATIENCE)
            held = {each["metadata"]["name"]: ip_address(each["status"]["podIP"]) for each in running}
            starts = _under_fire(ears, ground, wanted, held)
        found += [replace(start, aimed=held[name] in targets) for name, start in starts.items()]
        last = max(last, *held.values(), key=int)
        for each in made:
            cluster.api.delete("v1", "Pod", each["metadata"]["name"], arms.SPACE)  # gone when its sandbox is
        cluster.wait_gone(made)
    return found


def _under_fire(
    ears: "_Ears", ground: Ground, kinds: Mapping[str, str], held: Mapping[str, Address]
) -> dict[str, Start]:
    """What each pod heard, once each has heard somebody whom it admits."""
    starts: dict[str, Start] = {}

    def hit() -> bool:
        by_address = ears.by_address()
        for name, address in held.items():
            starts[name] = _start(kinds[name], by_address.get(pack(address)), ground.roles)
        return all(start.hit.allowed for start in starts.values())

    until(hit, _PATIENCE, lambda: "a pod heard nobody whom it admits, or no ear was in its namespace")
    return starts


def _start(kind: str, heard: "_Heard | None", roles: Mapping[Address, str]) -> Start:
    packets, unheard = (heard.packets, heard.missed + (not heard.early)) if heard else ([], 1)
    return Start("kubelet", "object first", 0.0, None, arms.hit(kind, packets, roles), unheard=unheard)


class _Heard:
    """What the ear of one namespace has heard. `early`: it was there before the pod's link."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        with netns.entered(descriptor), Rtnetlink() as inside:
            self._ear = Ear(descriptor)
            self.early = all(link.name != IFNAME or not link.up for link in inside.links())
        self.packets: list[tuple[float, Address]] = []
        self.missed = 0

    def collect(self) -> None:
        self.packets += self._ear.heard()
        self.missed += self._ear.missed()

    def close(self) -> None:
        self._ear.close()
        os.close(self.descriptor)


class _Ears:
    """Puts an ear into every namespace that appears in a folder, until told to stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        self._ears: list[_Heard] = []
        self._ended = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def by_address(self) -> dict[Packed, _Heard]:
        """The ears by the addresses of their namespaces, everything heard collected."""
        found: dict[Packed, _Heard] = {}
        for each in self._ears:
            each.collect()
            with netns.entered(each.descriptor), Rtnetlink() as inside:
                found |= dict.fromkeys(inside.local_addresses(), each)
        return found

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for each in self._ears:
            each.close()

    def _look(self) -> None:
        while not self._ended.wait(0.001):
            fresh = [file for file in self._folder.iterdir() if file.name not in self._known]
            for file in fresh:
                with suppress(OSError, KernelError):  # it is a plain file until the runtime has mounted it
                    self._ears.append(_Heard(os.open(file, os.O_RDONLY | os.O_CLOEXEC)))
                    self._known.add(file.name)


@contextmanager
def _listening(folder: Path) -> Iterator[_Ears]:
    ears = _Ears(folder)
    try:
        yield ears
    finally:
        ears.close()
