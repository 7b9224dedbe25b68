"""Pods that another plugin hung on a bridge: found by route, neighbour and bridge, and protected like our own.

Real packets through the nftables plane of a real agent that only enforces (no back end, no CNI).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from build import pod, policy, port, rule, select, space
from inside import run_inside
from vallum.agent.run import Agent
from vallum.agent.settings import Settings
from vallum.kernel import netns, sysctl
from vallum.kernel.bridges import Seat, seats
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import pack
from vallum.model.objects import UDP, Node, Object, Peer
from vallum.model.wiring import Route
from vallum.sources.encode import manifest

pytestmark = pytest.mark.packets
BRIDGE = "cni0"
GATEWAYS = ("10.66.0.1/24", "fd66::1/64")
NODE = Node("node1", (), (ip_address("10.66.0.1"),), (ip_network("10.66.0.0/24"), ip_network("fd66::/64")))
PODS = {name: (f"10.66.0.{number}", f"fd66::{number}") for number, name in enumerate(("web", "client", "liar"), 10)}
KNOWN = tuple(pod(f"a/{name}", *addresses, app=name) for name, addresses in PODS.items())
GUARD = policy("a/guard", select(app="web"), [rule(Peer(pods=select(app="client")), ports=[port(5000, protocol=UDP)])])


class Bench:
    """A bridge with three pods, an agent beside them, and sockets in the pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings("node1", folder / "world", "nftables", "none", folder / "sock", close_unknown=True)
        self._open = ExitStack()

    def build(self) -> None:
        sysctl.write("net/ipv6/conf/default/accept_dad", 0)
        with Rtnetlink() as host:
            host.add_bridge(BRIDGE, "02:00:00:00:00:01")
            for gateway in GATEWAYS:
                host.add_address(BRIDGE, ip_interface(gateway))
            for number, (name, addresses) in enumerate(PODS.items(), 10):
                netns.create(f"vallum-{name}")
                peer = netns.open_namespace(f"vallum-{name}")
                mac = f"06:00:00:00:00:{number}"
                host.add_veth(
                    f"v-{name}", "eth0", peer_namespace=peer, mac=f"02:00:00:00:01:{number}", peer_mac=mac, mtu=1500
                )
                host.set_link(f"v-{name}", bridge=BRIDGE)
                with netns.entered(f"vallum-{name}"), Rtnetlink() as inside:
                    sysctl.write("net/ipv6/conf/default/accept_dad", 0)
                    sysctl.write("net/ipv6/conf/eth0/accept_dad", 0)
                    inside.set_link("eth0", up=True)
                    for address, length in zip(addresses, (24, 64), strict=True):
                        inside.add_address("eth0", ip_interface(f"{address}/{length}"))
                    for gateway in GATEWAYS:
                        via = ip_interface(gateway).ip
                        anywhere = ip_network("0.0.0.0/0" if via.version == 4 else "::/0")
                        inside.add_route(Route(anywhere, via, "eth0"))

    def write(self, *things: Object) -> None:
        """The world, whole."""
        (self.folder / "world").mkdir(exist_ok=True)
        fresh = self.folder / "world" / ".fresh"
        fresh.write_bytes(
            msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": list(map(manifest, things))})
        )
        fresh.rename(self.folder / "world" / "world.json")

    def socket(self, name: str, address: str, number: int) -> socket.socket:
        """A UDP socket of a pod."""
        version = ip_address(address).version
        with netns.entered(f"vallum-{name}"):
            found = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        found.setblocking(False)
        found.bind((address, number))
        return self._open.enter_context(found)

    async def status(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while not self.settings.socket.exists():  # noqa: ASYNC110 - nothing tells of the file
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_unix_connection(self.settings.socket, limit=1 << 20)
            writer.write(b'{"op": "follow"}\n')
            while True:
                found: dict[str, Any] = msgspec.json.decode(await reader.readline())
                if found.get("event") == "status" and found["revision"] and reached(found):
                    writer.close()
                    return found

    async def drop(self, send: Callable[[], object]) -> dict[str, Any]:
        """The first denial that the agent tells of, sending until it does."""
        reader, writer = await asyncio.open_unix_connection(self.settings.socket, limit=1 << 20)
        writer.write(b'{"op": "follow"}\n')
        async with asyncio.timeout(10):
            while True:
                line = asyncio.ensure_future(reader.readline())
                while not line.done():
                    send()
                    await asyncio.wait([line], timeout=0.05)
                found: dict[str, Any] = msgspec.json.decode(line.result())
                if found.get("event") == "drop":
                    writer.close()
                    return found


def beside(piece: Callable[[Bench], Awaitable[None]], folder: Path) -> None:
    """Run `piece` with the bench built and an agent running."""

    async def body() -> None:
        bench = Bench(folder)
        bench.build()
        bench.write(NODE, space("a"), *KNOWN, GUARD)
        agent = Agent(bench.settings)
        running = asyncio.create_task(agent.run())
        try:
            await piece(bench)
        finally:
            agent._stop.set()
            await running

    run_inside(lambda: asyncio.run(body()))


async def arrives(sender: socket.socket, receiver: socket.socket, target: str) -> bytes:
    """What arrives of packets sent until one does."""
    loop = asyncio.get_running_loop()
    number = receiver.getsockname()[1]
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(loop.sock_recv(receiver, 100))
        while not waiting.done():
            sender.sendto(sender.getsockname()[0].encode(), (target, number))
            await asyncio.wait([waiting], timeout=0.05)
        return waiting.result()


@pytest.mark.parametrize("version", [4, 6])
def test_pods_of_one_bridge_are_judged_though_no_route_leads_to_them(version: int, tmp_path: Path):
    async def piece(bench: Bench) -> None:
        at = {name: addresses[version == 6] for name, addresses in PODS.items()}
        await bench.status(lambda found: len(found["pods"]) == 3)
        web, client, liar = (bench.socket(name, at[name], 5000) for name in ("web", "client", "liar"))
        assert await arrives(client, web, at["web"]) == at["client"].encode()
        denied = await bench.drop(lambda: liar.sendto(b"denied", (at["web"], 5000)))
        assert denied["from"] == "a/liar"
        assert await arrives(client, web, at["web"]) == at["client"].encode()  # and nothing of the other

    beside(piece, tmp_path)


def test_bridge_and_port_of_a_pod_are_found_and_its_seat_is_guarded(tmp_path: Path):
    async def piece(bench: Bench) -> None:
        own = PODS["client"][0]
        web, client = bench.socket("web", PODS["web"][0], 5000), bench.socket("client", own, 5000)
        await arrives(client, web, PODS["web"][0])
        with Rtnetlink() as host:
            host.add_neighbour(BRIDGE, ip_address(own), "06:00:00:00:00:11")
            assert seats(host, [pack(ip_address(own))]) == {pack(ip_address(own)): Seat(BRIDGE, True, "v-client")}
        bench.write(NODE, space("a"), *KNOWN, GUARD, policy("a/more", select(app="nobody"), ingress=[]))
        await bench.status(lambda found: found["policies"] == 2)
        with netns.entered("vallum-liar"), Rtnetlink() as inside:
            inside.add_address("eth0", ip_interface(f"{own}/32"))
        lie = bench.socket("liar", own, 5001)
        denied = await bench.drop(lambda: lie.sendto(b"I am the client", (PODS["web"][0], 5000)))
        assert "not an address of the end that sent this packet" in denied["reason"]

    beside(piece, tmp_path)


def test_an_address_of_the_nodes_range_without_a_known_pod_is_closed(tmp_path: Path):
    async def piece(bench: Bench) -> None:
        known = [each for each in KNOWN if each.id.name != "liar"]
        bench.write(NODE, space("a"), *known)
        status = await bench.status(lambda found: len(found["pods"]) == 2)
        assert status["closed"] == ["10.66.0.0/24", "fd66::/64"]
        stranger, client = bench.socket("liar", PODS["liar"][0], 5000), bench.socket("client", PODS["client"][0], 5000)
        denied = await bench.drop(lambda: stranger.sendto(b"who am I?", (PODS["client"][0], 5000)))
        assert "no living pod is known" in denied["reason"]
        bench.write(NODE, space("a"), *KNOWN)
        await bench.status(lambda found: len(found["pods"]) == 3)
        assert await arrives(stranger, client, PODS["client"][0]) == PODS["liar"][0].encode()

    beside(piece, tmp_path)
