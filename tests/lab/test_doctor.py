"""Faults planted in a lab are named by the doctor with their ids, and two healthy nodes have nothing wrong.

Real agents, tunnels and packets; the router lies between the nodes, in a subnet each.
"""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from inside import run_inside
from vallum.kernel import netns, sysctl
from vallum.lab.lab import Lab, LabSettings, started

pytestmark = pytest.mark.packets
Result = TypeVar("Result")
Found = set[tuple[str, str]]
IPV4_ONLY = "reported"
"""The id of what an agent says of ipip and IPv6 ranges."""


def of_two_nodes(piece: Callable[[Lab], Awaitable[Result]], backend: str, subnets: int = 1) -> Result:
    async def body() -> Result:
        async with started(LabSettings(2, backend=backend, subnets=subnets), ()) as lab:
            return await piece(lab)

    return run_inside(lambda: asyncio.run(body()))


async def told(lab: Lab, *nodes: str) -> dict[str, dict[str, Any]]:
    asked = nodes or tuple(lab.agents)
    answers = await asyncio.gather(*(lab.agents[node].ask("doctor") for node in asked))
    return dict(zip(asked, answers, strict=True))


async def found(lab: Lab, *nodes: str) -> Found:
    """Node and id of every finding of these nodes, or of all."""
    return {(node, each["id"]) for node, answer in (await told(lab, *nodes)).items() for each in answer["findings"]}


async def ways(lab: Lab) -> list[int]:
    """How many ways each node has tried; fails where it could not try one."""
    answers = (await told(lab)).values()
    assert [each["untried"] for each in answers] == [[], []]
    return [len(each["tried"]) for each in answers]


def run(where: str, *commands: str) -> str:
    said = ""
    with netns.entered(where):
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False, timeout=20)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            said += done.stdout
    return said


def node2(lab: Lab) -> str:
    return lab.agents["node2"].node.netns


def routers() -> list[str]:
    return [name for name in netns.names() if "router" in name]


def drop(where: str, *matches: str) -> None:
    chain = "add chain inet fault here { type filter hook prerouting priority -400 ; }"
    run(
        where,
        "nft add table inet fault",
        f"nft {chain}",
        *(f"nft add rule inet fault here {each} drop" for each in matches),
    )


def mend(where: str) -> None:
    run(where, "nft delete table inet fault")


def test_faults_of_vxlan_between_two_subnets() -> None:
    async def piece(lab: Lab) -> dict[str, object]:
        seen: dict[str, object] = {"ways": await ways(lab), "healthy": await found(lab)}
        drop(node2(lab), "udp dport 8472")
        seen["port"] = await found(lab)
        mend(node2(lab))
        drop(node2(lab), "udp dport 8472", "meta l4proto { icmp, icmpv6 }")
        seen["gone"] = await found(lab, "node1")
        mend(node2(lab))
        with netns.entered(node2(lab)):
            sysctl.write("net/ipv4/ip_forward", 0)
        seen["forwarding"] = await found(lab)
        for router in routers():
            shown = run(router, "ip -o link show type veth").splitlines()
            run(router, *(f"ip link set {each.split(':')[1].split('@')[0].strip()} mtu 1400" for each in shown))
        seen["router"] = await found(lab, "node1")
        await lab.agents["node2"].stop()
        run(node2(lab), "ip link del vallum.vxlan4")
        seen["device"] = await found(lab, "node1")
        return seen

    assert of_two_nodes(piece, "vxlan", subnets=2) == {
        "ways": [4, 4],
        "healthy": set(),
        "port": {("node1", "vxlan-closed"), ("node2", "vxlan-closed")},
        "gone": {("node1", "unreachable")},
        "forwarding": {("node2", "forwarding")},
        "router": {("node1", "mtu-link")},
        "device": {("node1", "mtu-link"), ("node1", "vxlan-not-listening")},
    }


def test_protocol_4_that_a_router_blocks() -> None:
    async def piece(lab: Lab) -> tuple[list[int], Found, Found]:
        tried, healthy = await ways(lab), await found(lab)
        for router in routers():
            drop(router, "ip protocol 4")
        return tried, healthy, await found(lab)

    tried, healthy, blocked = of_two_nodes(piece, "ipip", subnets=2)
    assert tried == [3, 3]
    assert {id_ for _, id_ in healthy} <= {IPV4_ONLY}
    assert blocked - healthy == {("node1", "ipip-closed"), ("node2", "ipip-closed")}


def test_a_stale_route_and_a_strict_filter_beside_plain_routes() -> None:
    async def piece(lab: Lab) -> tuple[list[int], Found, Found, Found]:
        tried, healthy = await ways(lab), await found(lab)
        run(node2(lab), "ip link add cni0 type bridge", "ip link set cni0 up", "ip route add 10.44.1.0/25 dev cni0")
        stale = await found(lab)
        run(node2(lab), "sysctl -qw net.ipv4.conf.all.rp_filter=1")
        return tried, healthy, stale, await found(lab)

    assert of_two_nodes(piece, "hostgw") == (
        [2, 2],
        set(),
        {("node2", "foreign-route")},
        {("node2", "foreign-route"), ("node2", "rp-filter")},
    )
