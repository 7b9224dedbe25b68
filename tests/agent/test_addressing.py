"""Where addresses come from: what each way says of itself, and what the world then knows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from build import NODE1
from ipam.layouts import World as Records
from ipam.layouts import layout, leaf, network, split
from vallum.agent.addressing import PodCidrs
from vallum.agent.ledgered import LedgerPools
from vallum.agent.territory import Territory, territory
from vallum.agent.world import World
from vallum.ipam import Request, plan
from vallum.ipam.ledger import Ledger
from vallum.ipam.records import Change, Host, Place
from vallum.model.objects import PodId, Pool
from vallum.model.selector import labels
from vallum.model.snapshot import Batch, Put
from vallum.network.aggregate import Member

RACKS = layout([network("n", "10.0.0.0/24", 30)], split("t", ["n"], leaf(rack="r1"), leaf(rack="r2")))


def test_a_node_without_pod_cidrs_has_no_addresses_to_give(tmp_path: Path) -> None:
    found = PodCidrs(tmp_path / "file")
    assert "spec.podCIDRs" in (found.missing() or "")
    found.know(replace(NODE1, pod_ranges=(ip_network("10.0.0.0/24"), ip_network("fd00::/64"))))
    assert (found.missing(), found.families()) == (None, {4, 6})
    found.know(None)
    assert found.missing() is not None


@asynccontextmanager
async def living(node: str, ledger: Path, world: World) -> AsyncIterator[LedgerPools]:
    pools = LedgerPools(node, ledger, world, lambda: None)

    async def beside(work: Callable[..., Any], *args: object) -> Any:
        return work(*args)

    async def look() -> None:
        pass

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(duty()) for duty in pools.duties(beside, look)]
        try:
            yield pools
        finally:
            for task in running:
                task.cancel()


async def until(reached: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the duty tells of some of it only
            await asyncio.sleep(0.002)


def test_nodes_of_one_ledger_have_places_by_their_labels_and_know_each_others_ranges(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    Ledger(ledger).commit(lambda state: (plan.plan(state, RACKS).change, None))
    own = {
        name: replace(NODE1, name=name, labels=labels({"rack": rack}), addresses=())
        for name, rack in (("a", "r1"), ("b", "r2"))
    }

    async def body() -> None:
        worlds = {name: World(name) for name in own}
        async with living("a", ledger, worlds["a"]) as one, living("b", ledger, worlds["b"]) as other:
            for (name, node), pools in zip(own.items(), (one, other), strict=True):
                worlds[name].apply(Batch(tuple(map(Put, own.values())), "1"))
                pools.know(node)
                await until(lambda pools=pools: pools.missing() is None)
            assert str(other.allocator.allocate(Request("x", PodId("s", "x"))).addresses[0]) == "10.0.0.128"
            one.know(own["a"])
            await until(lambda: worlds["a"].snapshot.nodes["b"].pod_ranges == (ip_network("10.0.0.128/30"),))
            assert one.families() == {4}
            one.know(replace(own["a"], labels=labels({"rack": "r2"})))
            await until(lambda: any("take it out of" in each for each in one.problems()))

    asyncio.run(body())


def test_a_node_of_a_ledger_has_an_address_for_itself_while_it_has_tunnels(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    Ledger(ledger).commit(lambda state: (plan.plan(state, RACKS).change, None))
    own = replace(NODE1, name="a", labels=labels({"rack": "r1"}), addresses=())

    async def body() -> None:
        world = World("a")
        async with living("a", ledger, world) as pools:
            pools.know(own, tunnels=True)
            await until(lambda: [*map(str, pools.sources() or ())] == ["10.0.0.0"])
            assert world.snapshot.pools == {"n": Pool("n", ip_network("10.0.0.0/24"))}
            pools.know(own, tunnels=False)
            await until(lambda: not pools.sources())

    asyncio.run(body())


def test_a_node_that_no_group_takes_says_what_they_ask_for(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    Ledger(ledger).commit(lambda state: (plan.plan(state, RACKS).change, None))

    async def body() -> None:
        async with living("a", ledger, World("a")) as pools:
            pools.know(replace(NODE1, name="a"))
            await until(lambda: "rack=r1; rack=r2" in (pools.missing() or ""))

    asyncio.run(body())


def test_ranges_are_the_blocks_merged_and_groups_those_above_them() -> None:
    records = Records(RACKS)
    records.join("h", rack="r2")
    for number in range(9):
        records.take("h", f"p{number}")
    wanted = (ip_network("10.0.0.128/29"), ip_network("10.0.0.136/30"))
    assert territory(records.state).members == {"h": Member("h", (ip_network("10.0.0.128/25"),), wanted)}


@pytest.mark.parametrize("prefix", [None, ip_network("10.0.0.0/28")])
def test_a_host_that_is_ahead_of_the_layout_keeps_what_it_has(prefix: Any) -> None:
    records = Records(RACKS)
    records.join("h", rack="r1")
    records.take("h", "p")
    records.join("other", rack="r1")
    (host,) = (each for each in records.state.hosts.values() if each.name == "h")
    ahead = Host(name="h", labels=host.labels, places=(Place("n", (3, 1), prefix),), revision=host.revision)
    records.state.apply(Change((ahead,)), 99)
    found = territory(records.state).members
    assert found["h"].groups == ()
    assert (prefix or ip_network("10.0.0.0/30")) in found["h"].ranges
    assert found["other"].groups == (ip_network("10.0.0.0/25"),)


def test_the_world_keeps_to_the_territory_whatever_its_nodes_say() -> None:
    world = World("node1")
    world.apply(Batch((Put(replace(NODE1, pod_ranges=(ip_network("10.9.0.0/24"),))),), "1"))
    members, pool = {"node1": Member("node1", (), (ip_network("10.0.0.0/30"),))}, Pool("n", ip_network("10.0.0.0/24"))
    assert world.lay(Territory(members, {"n": pool}))
    assert not world.lay(Territory(dict(members), {"n": pool}))
    assert world.snapshot.nodes["node1"].pod_ranges == (ip_network("10.0.0.0/30"),)
    world.apply(Batch((Put(replace(NODE1, pod_ranges=(ip_network("10.9.0.0/24"),))),), "2"))
    assert world.snapshot.nodes["node1"].pod_ranges == (ip_network("10.0.0.0/30"),)
    assert world.snapshot.pools == {"n": pool}
    assert world.lay(Territory({}, {}))
    assert world.snapshot.pools == {}
    assert world.snapshot.nodes["node1"].pod_ranges == ()
