"""A container runtime for tests: a node with the real service in this very process, and calls by the real plugin.

Everything runs in a private sandbox. The guard is a fake that notes what it was asked and, meanwhile, how the pod's own
end of its link stood.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

from inside import run_inside
from vallum.cni.build import shim
from vallum.cni.service import Doors, Service
from vallum.cni.verbs import Verbs
from vallum.ipam.ranges import NodeRanges
from vallum.kernel import netns
from vallum.kernel.rtnetlink import Link, Rtnetlink
from vallum.model.address import Network
from vallum.model.attachment import PodAttachment
from vallum.model.wiring import Route

Result = TypeVar("Result")

UPLINK, UPLINK_MTU = "uplink", 1400
RANGES: tuple[Network, ...] = (ip_network("10.244.1.0/24"), ip_network("fd10:244:1::/64"))
FOLDER = Path("/run/cni")
DOORS = Doors(FOLDER / "cni.sock", FOLDER / "queue")
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Printed:
    """What the plugin did: its exit status and the JSON it printed, None for nothing."""

    status: int
    text: Any

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of a result, without their length."""
        return tuple(each["address"].partition("/")[0] for each in self.text["ips"])


@dataclass(slots=True)
class FakeGuard:
    """Implements `verbs.Guard`. `refusal` is raised by every protect; `gate` holds all of them back until it is set."""

    protected: list[PodAttachment] = field(default_factory=list)
    released: list[PodAttachment] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)
    refusal: Exception | None = None
    gate: asyncio.Event | None = None

    async def protect(self, attachment: PodAttachment) -> None:
        """Note how both ends stand, then do as told."""
        self.protected.append(attachment)
        with Rtnetlink() as host, netns.entered(attachment.pod.name), Rtnetlink() as inside:
            self.ends.append((host.link(attachment.interface).up, inside.link(attachment.ifname).up))
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal

    async def release(self, attachment: PodAttachment) -> None:
        """Note it."""
        self.released.append(attachment)


class Node:
    """A node's network namespace, which is the caller's, with an uplink; its agent's service when `start`ed."""

    def __init__(self, ranges: tuple[Network, ...] = RANGES) -> None:
        self.ranges = ranges
        self.guard = FakeGuard()
        self.reason: str | None = None
        self.mtu: int | None = None
        self.config: dict[str, Any] = {"cniVersion": "1.0.0", "name": "vallum", "type": "vallum"}
        self.config |= {"socket": str(DOORS.socket), "queueDir": str(DOORS.queue)}
        self.plugin = shim()
        self.found: tuple[PodAttachment, ...] = ()
        self._serving: asyncio.Task[None] | None = None
        self._service: Service | None = None

    async def start(self) -> None:
        """A new life of the agent: it knows nothing but what the kernel and its files say."""
        verbs = Verbs(
            NodeRanges(self.ranges, FOLDER / "ranges.json"), self.guard, lambda: self.reason, lambda: self.mtu
        )
        self._service = Service(DOORS, verbs)
        self.found = await self._service.open()
        self._serving = asyncio.create_task(self._service.serve())

    async def stop(self) -> None:
        """The agent ends as on SIGTERM."""
        assert self._serving is not None
        assert self._service is not None
        self._serving.cancel()
        with suppress(asyncio.CancelledError):
            await self._serving
        self._service.close()

    async def call(self, command: str, container: str = "c1", pod: str | None = "web", **more: Any) -> Printed:
        """Run the plugin. `more`: further configuration; `ifname`, `netns`, `args` and `environment` as they say."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": more.pop("ifname", "eth0"),
            "CNI_NETNS": more.pop("netns", None if pod is None else f"/run/netns/{pod}"),
            "CNI_ARGS": more.pop(
                "args", f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod};K8S_POD_UID=u-{pod}"
            ),
            "CNI_PATH": "/nowhere",
        } | more.pop("environment", {})
        return await run_plugin(self.plugin, environment, json.dumps(self.config | more))


async def run_plugin(plugin: Path, environment: dict[str, str | None], text: str) -> Printed:
    """Run any CNI plugin; variables that are None are left out."""
    given = {name: value for name, value in environment.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        plugin, env=given, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(text.encode()), PATIENCE)
    assert process.returncode is not None
    return Printed(process.returncode, json.loads(printed) if printed else None)


def on_node(piece: Callable[[Node], Awaitable[Result]], *, started: bool = True, **settings: Any) -> Result:
    """What `piece` returns, run on a node in a sandbox; it must be plain data."""

    async def body() -> Result:
        make_uplink()
        node = Node(**settings)
        if started:
            await node.start()
        try:
            return await piece(node)
        finally:
            if node._serving is not None and not node._serving.done():
                await node.stop()

    shim()  # compiled outside, where the cache outlives the sandbox
    return run_inside(lambda: asyncio.run(body()))


def make_uplink() -> None:
    """A way out of the node, with an MTU of its own."""
    with Rtnetlink() as host:
        host.add_veth(UPLINK, "far", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=UPLINK_MTU)
        host.set_link("far", up=True)
        host.set_link(UPLINK, up=True)
        for address in ("172.20.0.11/24", "fd00:172:20::11/64"):
            host.add_address(UPLINK, ip_interface(address))
        host.add_route(Route(ip_network("0.0.0.0/0"), ip_interface("172.20.0.1/24").ip, UPLINK))


def make_pod(name: str = "web") -> str:
    """A namespace as a runtime makes it for a pod."""
    netns.create(name)
    return name


def pod_links(name: str = "web") -> dict[str, Link]:
    """The links inside a pod."""
    with netns.entered(name), Rtnetlink() as inside:
        return {link.name: link for link in inside.links()}


def node_state() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The links of the node, and the devices and destinations of its host routes."""
    with Rtnetlink() as host:
        links = tuple(sorted(link.name for link in host.links()))
        routes = sorted(f"{held.route.destination} {held.route.device}" for held in host.routes())
    return links, tuple(routes)


async def until(condition: Callable[[], bool]) -> None:
    """Return when the kernel has come so far; it ends namespaces and their links in the background."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.001)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
