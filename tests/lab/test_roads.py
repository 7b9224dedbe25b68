"""What happens to roads between nodes, and what becomes of the traffic: over each back end, with packets.

Somebody deletes, changes or puts something in the way while the agents run, or while one is away. What can flow must
flow again before a deadline, what is stale must go, and `status` must name what was repaired. How soon: the bench.
"""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from signal import SIGKILL
from typing import Any, TypeVar

import pytest

from build import pod, space
from ends import End, exchange
from labs import in_lab
from vallum.kernel import netns, sysctl
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab import topology
from vallum.lab.lab import Lab, LabSettings
from vallum.model.objects import Object, Pool
from vallum.model.wiring import DEVICE_PREFIX, ROUTE_PROTOCOL

pytestmark = pytest.mark.packets

Result = TypeVar("Result")
Disturbance = Callable[[Lab, str], Awaitable[bool]]
"""Does something to node 1 of a lab with this road. Whether `status` said what it should, and the traffic is whole."""

ROADS = ("hostgw", "vxlan", "ipip")
DEVICES = {"vxlan": "vallum.vxlan4", "ipip": "vallum.ipip"}
WITHIN = 10.0
"""Seconds before which everything must be as it was, on a machine that is busy with other tests."""

each_road = pytest.mark.parametrize("road", ROADS)
each_tunnel = pytest.mark.parametrize("road", DEVICES)


def world(nodes: int) -> tuple[Object, ...]:
    """A pod on each node."""
    return (space("a"), *(pod(f"a/p{number}", node=f"node{number}") for number in range(1, nodes + 1)))


def on(road: str, nodes: int, piece: Callable[[Lab], Awaitable[Result]]) -> Result:
    """What a piece returns in a lab where this road works: a subnet a node, unless the road needs a link."""

    async def warm(lab: Lab) -> Result:
        assert await flows(lab, 1, 2)
        return await piece(lab)

    settings = LabSettings(nodes, backend=road, subnets=nodes if road in DEVICES else 1)
    return in_lab(warm, world(nodes), settings=settings)


def end(lab: Lab, number: int) -> End:
    """The pod on this node, by its IPv4 address."""
    plan = next(each for each in lab.topology.pods if each.pod.name == f"p{number}")
    return plan.netns, plan.addresses[0]


async def flows(lab: Lab, one: int, other: int, within: float = WITHIN) -> bool:
    """Reports whether a datagram and its answer pass between the pods of these nodes before the deadline."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if await asyncio.to_thread(exchange, end(lab, one), end(lab, other), 0.1):
            return True
    return False


def by_hand(lab: Lab, node: str, *words: str) -> str:
    """What a command prints that an administrator types on a node."""
    with netns.entered(lab.topology.node_of(node).netns):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


async def repaired(lab: Lab, node: str, *words: str) -> str:
    """The first repair that its agent names with all of these words."""

    def named(status: dict[str, Any]) -> list[str]:
        told = [f"{each['what']} {each['how']}" for each in status["repairs"]]
        return [each for each in told if all(word in each for word in words)]

    status = await lab.agents[node].until(lambda status: bool(named(status)), WITHIN)
    return named(status)[0]


async def problem(lab: Lab, node: str, word: str) -> str:
    """The first problem that its agent names with this word."""

    def named(status: dict[str, Any]) -> list[str]:
        return [each for each in status["problems"] if word in each]

    return named(await lab.agents[node].until(lambda status: bool(named(status)), WITHIN))[0]


async def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        if await asyncio.to_thread(condition):
            return True
    return False


def ours(lab: Lab, node: str) -> str:
    """Our routes, neighbours and forwarding entries of a node, as its administrator sees them."""
    shown = ("ip", "-4", "route"), ("ip", "neigh"), ("bridge", "fdb")
    lines = [line for words in shown for line in by_hand(lab, node, *words).splitlines()]
    return "\n".join(line for line in lines if f"proto {ROUTE_PROTOCOL}" in line or DEVICE_PREFIX in line)


def range_of(lab: Lab, node: str) -> str:
    return str(lab.topology.node_of(node).pod_ranges[0])


def world_of(lab: Lab) -> list[Object]:
    """The world as the agents have it."""
    return list(topology.complete(lab.stated, lab.topology))


async def the_agent_is_killed(lab: Lab, _: str) -> bool:
    agent = lab.agents["node1"]
    await agent.stop(SIGKILL)
    alone = await flows(lab, 1, 2)
    agent.start()
    status = await agent.until(lambda status: status["revision"] == lab.revision, WITHIN)
    return alone and not status["repairs"] and await flows(lab, 1, 2)


async def a_route_is_deleted(lab: Lab, _: str) -> bool:
    by_hand(lab, "node1", "ip", "route", "del", range_of(lab, "node2"))
    named = await repaired(lab, "node1", range_of(lab, "node2"), "was gone")
    return named.startswith("routes") and await flows(lab, 1, 2)


async def a_foreign_route_is_in_the_way(lab: Lab, _: str) -> bool:
    """It is left alone and named; when it goes, ours returns."""
    wanted, node = range_of(lab, "node2"), lab.topology.node_of("node1")
    router = str(lab.topology.router_of(node.link).addresses[0].ip)
    by_hand(lab, "node1", "ip", "route", "replace", wanted, "via", router, "proto", "static")
    told = await problem(lab, "node1", wanted)
    stands = "proto static" in by_hand(lab, "node1", "ip", "route", "show", wanted)
    by_hand(lab, "node1", "ip", "route", "del", wanted, "proto", "static")
    return stands and f"another program has {wanted}" in told and await flows(lab, 1, 2)


async def the_link_goes_down_and_up(lab: Lab, _: str) -> bool:
    with netns.entered(lab.topology.node_of("node1").netns):
        sysctl.write("net/ipv6/conf/eth0/keep_addr_on_down", 1)
    way = by_hand(lab, "node1", "ip", "-4", "route", "show", "default")
    by_hand(lab, "node1", "ip", "link", "set", "eth0", "down")
    by_hand(lab, "node1", "ip", "link", "set", "eth0", "up")
    by_hand(lab, "node1", "ip", "route", "replace", *way.split())  # whoever configures the link does that
    return await flows(lab, 1, 2) and await flows(lab, 2, 1)


async def the_device_is_deleted(lab: Lab, road: str) -> bool:
    by_hand(lab, "node1", "ip", "link", "del", DEVICES[road])
    await repaired(lab, "node1", DEVICES[road], "was gone")
    return await flows(lab, 1, 2) and await flows(lab, 2, 1)


async def the_device_is_set_down(lab: Lab, road: str) -> bool:
    by_hand(lab, "node1", "ip", "link", "set", DEVICES[road], "down")
    return await flows(lab, 1, 2) and await flows(lab, 2, 1)


async def a_neighbour_is_deleted(lab: Lab, road: str) -> bool:
    remote = str(lab.topology.node_of("node2").addresses[0].ip)
    by_hand(lab, "node1", "ip", "neigh", "del", remote, "dev", DEVICES[road])
    await repaired(lab, "node1", remote, DEVICES[road], "was gone")
    return await flows(lab, 1, 2)


async def a_forwarding_entry_is_deleted(lab: Lab, road: str) -> bool:
    remote = str(lab.topology.node_of("node2").addresses[0].ip)
    entries = by_hand(lab, "node1", "bridge", "fdb", "show", "dev", DEVICES[road]).splitlines()
    mac = next(line.split()[0] for line in entries if f"dst {remote} " in line)
    by_hand(lab, "node1", "bridge", "fdb", "del", mac, "dev", DEVICES[road])
    await repaired(lab, "node1", mac, DEVICES[road], "was gone")
    return await flows(lab, 1, 2)


ANYWHERE: tuple[Disturbance, ...] = (
    the_agent_is_killed,
    a_route_is_deleted,
    a_foreign_route_is_in_the_way,
    the_link_goes_down_and_up,
)
DISTURBANCES: dict[str, tuple[Disturbance, ...]] = {
    "hostgw": ANYWHERE,
    "ipip": (*ANYWHERE, the_device_is_deleted, the_device_is_set_down),
    "vxlan": (
        *ANYWHERE,
        the_device_is_deleted,
        the_device_is_set_down,
        a_neighbour_is_deleted,
        a_forwarding_entry_is_deleted,
    ),
}


@each_road
def test_whatever_somebody_does_to_a_node_is_named_and_its_traffic_flows_again(road: str):
    async def piece(lab: Lab) -> list[str]:
        return [each.__name__ for each in DISTURBANCES[road] if not await each(lab, road)]

    assert on(road, 2, piece) == []


async def node_3_is_deleted_while_the_agent_of_node_1_is_down(lab: Lab, _: str) -> bool:
    agent, gone = lab.agents["node1"], lab.topology.node_of("node3")
    before = await flows(lab, 1, 3)
    await agent.stop(SIGKILL)
    lab.world.replace(each for each in world_of(lab) if getattr(each, "name", "") != "node3")
    agent.start()
    traces = range_of(lab, "node3"), str(gone.addresses[0].ip)
    away = await eventually(lambda: not any(trace in ours(lab, "node1") for trace in traces))
    return before and away and await flows(lab, 1, 2)


async def the_address_of_node_2_changes(lab: Lab, _: str) -> bool:
    was = lab.topology.node_of("node2").addresses[0]
    new = was.ip + 50
    way = by_hand(lab, "node2", "ip", "-4", "route", "show", "default")
    by_hand(lab, "node2", "ip", "address", "del", str(was), "dev", "eth0")
    by_hand(lab, "node2", "ip", "address", "add", f"{new}/24", "dev", "eth0")
    by_hand(lab, "node2", "ip", "route", "replace", *way.split())
    lab.world.replace(
        replace(each, addresses=(new, *each.addresses[1:])) if getattr(each, "name", "") == "node2" else each
        for each in world_of(lab)
    )
    reached = await flows(lab, 1, 2) and await flows(lab, 2, 1)
    return reached and await eventually(lambda: f"{was.ip} " not in ours(lab, "node1"))


@each_road
def test_what_led_to_a_node_that_went_or_to_an_address_that_changed_goes_and_the_rest_flows(road: str):
    async def piece(lab: Lab) -> list[str]:
        changes = (node_3_is_deleted_while_the_agent_of_node_1_is_down, the_address_of_node_2_changes)
        return [each.__name__ for each in changes if not await each(lab, road)]

    assert on(road, 3, piece) == []


@each_tunnel
def test_encapsulation_is_switched_while_pods_talk_and_each_pair_goes_its_way(road: str):
    """Nodes 1 and 3 share a subnet: between them a tunnel is needed only where it is always wanted."""

    def pool(encapsulation: str) -> Pool:
        return Pool("pods", ip_network("10.44.0.0/16"), road, encapsulation)

    async def piece(lab: Lab) -> list[tuple[bool, bool]]:
        ways = []
        for encapsulation in ("always", "cross-subnet", "always"):
            await lab.apply((*world(3), pool(encapsulation)))
            assert await flows(lab, 1, 2)
            assert await flows(lab, 1, 3)
            with netns.entered(lab.topology.node_of("node1").netns), Rtnetlink() as netlink:
                found = {str(one.route.destination): one.route.device for one in netlink.routes()}
            ways.append(tuple(found[range_of(lab, node)] == DEVICES[road] for node in ("node2", "node3")))
        return ways

    settings = LabSettings(3, backend=road, subnets=2)
    found = in_lab(piece, (*world(3), pool("always")), settings=settings)
    assert found == [(True, True), (True, False), (True, True)]


def test_host_gw_says_of_a_node_that_is_not_on_its_link_what_would_be_right():
    async def piece(lab: Lab) -> tuple[str, bool]:
        return await problem(lab, "node1", "not on this link"), await flows(lab, 1, 2, within=0.3)

    told, flowed = in_lab(piece, world(2), settings=LabSettings(2, subnets=2))
    assert told.startswith("node node2:")
    assert "encapsulat" in told
    assert not flowed
