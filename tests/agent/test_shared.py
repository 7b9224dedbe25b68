"""An agent's addresses from a cluster: its place, its news and its reports, with an API that comes and goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from build import NODE1, space
from vallum.agent import shared
from vallum.agent.shared import SharedPools
from vallum.agent.world import World
from vallum.ipam import ExhaustedError, Request
from vallum.lab.bench.fakeapi import HANG, Answer, FakeApi, status
from vallum.lab.bench.fakeapi import Request as Asked
from vallum.model.objects import Node, PodId
from vallum.model.selector import labels
from vallum.model.snapshot import Batch, Put
from vallum.sources.kube.access import Access
from vallum.sources.kube.client import Client
from vallum.sources.kube.ipam_forms import KINDS

# a server that is cut down in the middle leaves connections to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATHS = {kind.name: kind.path for kind in KINDS}
NODES = "/api/v1/nodes"
OTHER = replace(NODE1, name="node2", addresses=(ip_address("172.20.0.12"),))
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PUBLISH", 0.02)
    monkeypatch.setattr(shared, "CALM", 0.0)


def layout(api: FakeApi, **more: Any) -> None:
    """One network in two racks."""
    racks = [{"assignment": {"rack": rack}} for rack in ("r1", "r2")]
    api.put(PATHS["Network"], {"metadata": {"name": "n"}, "spec": {"cidr": "10.0.0.0/24", "blockMask": 30} | more})
    api.put(PATHS["Topology"], {"metadata": {"name": "t"}, "spec": {"networks": ["n"], "map": racks}})


class Place:
    """A node with an API somewhere. `uses`: what its kernel says is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = FakeApi()
        for kind in KINDS:
            self.api.load(kind.path, ())
        for name in ("node1", "node2"):
            self.api.put(NODES, {"metadata": {"name": name, "uid": f"uid-{name}"}})
        self.uses: dict[str, str] = {}

    @asynccontextmanager
    async def agent(self, own: Node) -> AsyncIterator["Life"]:
        """One life of an agent, as far as addresses go."""
        with ThreadPoolExecutor(1) as worker:
            life = Life(self, worker)
            life.world.apply(Batch((Put(space("shop", team="web")), Put(own), Put(OTHER)), "1"))
            async with Client(Access((self.api.url,))) as client:
                life.pools.connect(client)
                life.pools.know(own)
                async with asyncio.TaskGroup() as tasks:
                    running = [tasks.create_task(duty()) for duty in life.pools.duties(life.beside, life.look)]
                    try:
                        yield life
                    finally:
                        for task in running:
                            task.cancel()
                life.pools.close()


class Life:
    """See `Place.agent`."""

    def __init__(self, place: Place, worker: ThreadPoolExecutor) -> None:
        self.place, self.worker = place, worker
        self.world = World("node1")
        self.changes = asyncio.Event()
        self.pools = SharedPools("node1", place.folder / "ledger", self.world, self.changes.set)

    async def beside(self, work: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.worker, partial(work, *args))

    async def look(self) -> None:
        held = {owner: (ip_address(text),) for owner, text in self.place.uses.items()}
        await self.beside(self.pools.allocator.adopt, held)

    async def add(self, owner: str) -> str:
        lease = await self.beside(self.pools.allocator.allocate, Request(owner, PodId("shop", owner)))
        self.place.uses[owner] = str(lease.addresses[0])
        return self.place.uses[owner]

    async def delete(self, owner: str) -> None:
        self.place.uses.pop(owner)
        await self.beside(self.pools.allocator.free, owner)

    async def until(self, reached: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not reached():  # noqa: ASYNC110 - rounds go on by themselves, and not all tell of it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"never reached; {self.pools.missing()}, {self.pools.problems()}") from None

    async def ready(self) -> None:
        await self.until(lambda: self.pools.missing() is None)

    def spec(self, kind: str, name: str) -> dict[str, Any]:
        found = {each["metadata"]["name"]: each["spec"] for each in self.place.api.objects(PATHS[kind])}
        return found.get(name, {})


def on(place: Place, piece: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """With the API running."""

    async def body() -> None:
        await place.api.start()
        try:
            await piece()
        finally:
            await place.api.stop()

    asyncio.run(body())


RACK1, RACK2 = (replace(NODE1, labels=labels({"rack": rack})) for rack in ("r1", "r2"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    layout(found.api)
    return found


def test_a_node_takes_its_place_and_gives_addresses_of_it_and_everybody_knows_its_ranges(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK2) as life:
            await life.ready()
            assert life.pools.families() == {4}
            assert [await life.add("a"), await life.add("b")] == ["10.0.0.128", "10.0.0.129"]
            await life.until(lambda: life.world.snapshot.nodes["node1"].pod_ranges)
            own = life.world.snapshot.nodes["node1"]
            assert (own.pod_ranges, own.groups) == ((ip_network("10.0.0.128/30"),), (ip_network("10.0.0.128/25"),))
            await life.until(lambda: life.spec("Block", "10.0.0.128-30").get("used") == {"0": "a", "1": "b"})
            assert life.pools.problems() == ()

    on(place, piece)


def test_its_objects_are_owned_by_its_node_and_go_with_it(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            await life.add("a")
            for kind in ("Host", "Block"):
                (found,) = place.api.objects(PATHS[kind])
                (owner,) = found["metadata"]["ownerReferences"]
                assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", "node1", "uid-node1")

    on(place, piece)


def test_the_blocks_of_others_are_their_ranges(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            for number in (0, 4, 16):
                spec = {"network": "n", "cidr": f"10.0.0.{128 + number}/30", "host": "node2"}
                place.api.put(PATHS["Block"], {"metadata": {"name": f"10.0.0.{128 + number}-30"}, "spec": spec})
            places = [{"network": "n", "path": "1"}]
            place.api.put(PATHS["Host"], {"metadata": {"name": "node2"}, "spec": {"places": places}})
            wanted = (ip_network("10.0.0.128/29"), ip_network("10.0.0.144/30"))
            await life.until(lambda: life.world.snapshot.nodes["node2"].pod_ranges == wanted)
            place.api.delete(PATHS["Block"], "10.0.0.144-30")
            await life.until(lambda: life.world.snapshot.nodes["node2"].pod_ranges == wanted[:1])
            life.world.apply(Batch((Put(replace(OTHER, labels=labels({"new": "label"}))),), "2"))
            assert life.world.snapshot.nodes["node2"].pod_ranges == wanted[:1], "whatever its object says"

    on(place, piece)


def test_a_new_life_keeps_place_and_addresses_and_frees_what_is_gone(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            given = [await life.add(name) for name in "abc"]
        del place.uses["c"]  # its DEL was lost
        async with place.agent(RACK1) as life:
            own = life.world.snapshot.nodes["node1"].pod_ranges
            assert own == (ip_network("10.0.0.0/30"),), "known before the API was read: unknown pods there are closed"
            assert not life.pools.heard
            await life.ready()
            more = [await life.add(name) for name in "de"]
            assert not set(more) & set(given)
            await life.until(lambda: life.spec("Block", "10.0.0.0-30").get("used", {}).keys() == {"0", "1", "3"})

    on(place, piece)


def test_double_and_late_deletes_and_the_same_name_again(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            first = await life.add("a")
            await life.delete("a")
            await life.beside(life.pools.allocator.free, "a")
            second = await life.add("a")
            assert second != first
            await life.beside(life.pools.allocator.free, "of an earlier life")
            await life.until(lambda: life.spec("Block", "10.0.0.0-30").get("used") == {"1": "a"})

    on(place, piece)


def test_without_an_api_at_the_start_nothing_is_given_and_it_is_named_until_it_is_there(place: Place) -> None:
    async def piece() -> None:
        place.api.rule = lambda asked: status(503, "not yet") if "vallum.dev" in asked.path else None
        async with place.agent(RACK1) as life:
            await life.until(lambda: "not yet" in (life.pools.missing() or ""))
            with pytest.raises(ExhaustedError, match="was not read"):
                await life.add("a")
            place.api.rule = lambda _: None
            await life.ready()
            assert await life.add("a") == "10.0.0.0"
            await life.until(lambda: life.pools.problems() == ())

    on(place, piece)


def test_a_cluster_without_our_kinds_is_told_of_by_name(place: Place) -> None:
    async def piece() -> None:
        place.api.rule = lambda asked: status(404, "page not found") if "vallum.dev" in asked.path else None
        async with place.agent(RACK1) as life:
            await life.until(lambda: "404" in (life.pools.missing() or ""))

    on(place, piece)


def test_while_the_api_is_away_own_blocks_go_on_and_a_new_one_waits(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            await life.add("a")
            await place.api.stop()
            assert [await life.add(name) for name in "bcd"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
            with pytest.raises(ExhaustedError, match="needs the Kubernetes API"):
                await life.add("e")
            await place.api.start(int(place.api.url.rpartition(":")[2]))

            async def again() -> bool:
                try:
                    return bool(await life.add("e"))
                except ExhaustedError:
                    return False

            async with asyncio.timeout(PATIENCE):
                while not await again():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            assert place.uses["e"] == "10.0.0.4"

    on(place, piece)


def test_labels_that_no_group_takes_are_named_and_mended_by_new_ones(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(NODE1) as life:
            await life.until(lambda: "groups ask for: rack=r1; rack=r2" in (life.pools.missing() or ""))
            life.pools.know(RACK2)
            await life.ready()
            life.pools.know(RACK1)
            await life.until(lambda: any("take it out of 10.0.0.128/25" in each for each in life.pools.problems()))
            assert await life.add("a") == "10.0.0.128", "it keeps its place"

    on(place, piece)


def test_a_layout_that_is_refused_is_a_problem_of_the_status(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            await life.add("a")
            layout(place.api, blockMask=28)
            await life.until(lambda: any("are not taken" in each for each in life.pools.problems()))
            assert await life.add("b") == "10.0.0.1"
            layout(place.api)
            await life.until(lambda: life.pools.problems() == ())

    on(place, piece)


def test_namespaces_are_known_by_their_labels(place: Place) -> None:
    layout(place.api, namespaceSelector={"matchLabels": {"team": "web"}})

    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            assert await life.add("a") == "10.0.0.0"
            life.world.apply(Batch((Put(space("shop", team="db")),), "2"))
            with pytest.raises(Exception, match="no network serves tenant shop"):
                await life.add("b")

    on(place, piece)


def test_a_node_with_tunnels_has_an_address_for_itself_over_restarts_until_it_has_none(place: Place) -> None:
    async def piece() -> None:
        async with place.agent(RACK1) as life:
            await life.ready()
            assert life.pools.sources() == ()
            life.pools.know(RACK1, tunnels=True)
            await life.until(life.pools.sources)
            assert await life.add("a") == "10.0.0.1"
        async with place.agent(RACK1) as life:
            await life.ready()
            assert list(map(str, life.pools.sources() or ())) == ["10.0.0.0"]
            assert await life.add("b") == "10.0.0.2"
            life.pools.know(RACK1, tunnels=False)
            await life.until(lambda: not life.pools.sources())
            assert life.pools.problems() == ()

    on(place, piece)


def test_an_agent_that_ends_does_not_wait_for_an_api_that_hangs(place: Place) -> None:
    async def piece() -> None:
        def hang(asked: Asked) -> Answer | None:
            return HANG if asked.method == "POST" else None

        async with place.agent(RACK1) as life:
            await life.ready()
            place.api.rule = hang
            adding = asyncio.create_task(life.add("a"))
            await life.until(
                lambda: any(each.method == "POST" and "blocks" in each.path for each in place.api.requests)
            )
            life.pools.close()
            with pytest.raises(ExhaustedError, match="about to end"):
                await adding

    on(place, piece)
