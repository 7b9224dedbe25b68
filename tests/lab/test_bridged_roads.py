"""Canal's picture: another plugin hangs the pods on a bridge, the roads between nodes and the policies are ours.

The bridges are built as the reference plugin `bridge` does. Nodes are in two subnets, so packets between them go by
vxlan or not at all.
"""

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from build import pod, policy, port, rule, select, space
from ends import End, denial, exchange, listening
from labs import in_lab
from vallum.kernel import netns, sysctl
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab import topology
from vallum.lab.lab import READY, Lab, LabSettings
from vallum.lab.senders import Flow
from vallum.model.address import pack
from vallum.model.objects import UDP, Object, Peer
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets

BRIDGE = "cni0"
SEATS = {"web": (1, 10), "near": (1, 11), "client": (2, 10), "stranger": (2, 11)}
"""Pod -> the number of its node, and its own in the node's ranges."""
MTU = 1450
"""What is told to a bridge plugin beside flannel's vxlan, too."""


def addresses(name: str) -> tuple[str, str]:
    node, number = SEATS[name]
    return f"10.44.{node}.{number}", f"fd44:0:0:{node}::{number}"


PODS = tuple(pod(f"a/{name}", *addresses(name), node=f"node{SEATS[name][0]}", app=name) for name in SEATS)
GUARD = policy("a/guard", select(app="web"), [rule(Peer(pods=select(app="client")), ports=[port(5000, protocol=UDP)])])
WORLD: tuple[Object, ...] = (space("a"), *PODS)


def hang_up(lab: Lab) -> None:
    """A bridge on each node, with the gateways of its ranges, and its pods on it."""
    for number, node in enumerate(lab.topology.nodes, 1):
        gateways = [f"10.44.{number}.1/24", f"fd44:0:0:{number}::1/64"]
        with netns.entered(node.netns), Rtnetlink() as host:
            host.add_bridge(BRIDGE, f"02:00:00:00:00:0{number}")
            for gateway in gateways:
                host.add_address(BRIDGE, ip_interface(gateway))
            for name, (_, own) in ((name, seat) for name, seat in SEATS.items() if seat[0] == number):
                _hang(host, name, own, gateways)


def _hang(host: Rtnetlink, name: str, number: int, gateways: list[str]) -> None:
    where = f"vallum-{name}"
    netns.create(where)
    with netns.entered(where):
        sysctl.write("net/ipv6/conf/default/accept_dad", 0)
    inside = netns.open_namespace(where)
    macs = f"02:00:00:00:01:{number}", f"06:00:00:00:00:{number}"
    host.add_veth(f"v-{name}", "eth0", peer_namespace=inside, mac=macs[0], peer_mac=macs[1], mtu=MTU)
    host.set_link(f"v-{name}", bridge=BRIDGE)
    with netns.entered(where), Rtnetlink() as own:
        own.set_link("eth0", up=True)
        for address, length in zip(addresses(name), (24, 64), strict=True):
            own.add_address("eth0", ip_interface(f"{address}/{length}"))
        for gateway in gateways:
            via = ip_interface(gateway).ip
            own.add_route(Route(ip_network("0.0.0.0/0" if via.version == 4 else "::/0"), via, "eth0"))


def end(name: str, version: int) -> End:
    return f"vallum-{name}", ip_address(addresses(name)[version == 6])


async def told(lab: Lab, *things: Object) -> None:
    """Write the world and wait until both agents enforce it on all of their pods."""
    nodes = (each for each in topology.complete((), lab.topology))
    revision = lab.world.replace((*nodes, *things))
    for agent in lab.agents.values():
        await agent.until(lambda status: status["revision"] == revision and None not in status["pods"].values(), READY)


async def guarded(lab: Lab, version: int) -> dict[str, object]:
    """Who got through to the web, and which node recorded the denial of the others."""
    web = end("web", version)
    found: dict[str, object] = {}
    with listening(*web, 5000) as service:
        for name in ("client", "near", "stranger"):
            where, own = end(name, version)
            with listening(where, own, 5001) as sock:
                sock.sendto(name.encode(), (str(web[1]), 5000))
            if name != "client":
                found[name] = await denial(lab, Flow(pack(own), pack(web[1]), UDP, 5001, 5000))
        async with asyncio.timeout(5):
            found["heard"] = (await asyncio.get_running_loop().sock_recv(service, 64)).decode()
    return found


def test_policies_hold_between_pods_on_bridges_of_two_nodes_that_vxlan_connects():
    async def piece(lab: Lab) -> tuple[list[bool], list[dict[str, object]]]:
        hang_up(lab)
        await told(lab, *WORLD)
        pairs = [(name, version) for name in ("client", "near") for version in (4, 6)]
        opened = [await asyncio.to_thread(exchange, end(name, version), end("web", version)) for name, version in pairs]
        await told(lab, *WORLD, GUARD)
        return opened, [await guarded(lab, version) for version in (4, 6)]

    found = in_lab(piece, (), settings=LabSettings(2, backend="vxlan", subnets=2))
    assert found == ([True] * 4, [{"near": "node1", "stranger": "node1", "heard": "client"}] * 2)
