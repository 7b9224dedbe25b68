"""Follows a fake API as an agent does, and remembers what it was told; and small words for what stands in that API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from vallum.lab.bench.fakeapi import FakeApi
from vallum.model.objects import Object
from vallum.model.snapshot import Batch, Gone, Key, Put, key_of
from vallum.sources.decode import decode
from vallum.sources.kube import Trouble, watch
from vallum.sources.kube.access import Access
from vallum.sources.kube.client import Client

NAMESPACES, NODES, PODS = "/api/v1/namespaces", "/api/v1/nodes", "/api/v1/pods"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
KINDS = {NAMESPACES: "Namespace", NODES: "Node", PODS: "Pod", POLICIES: "NetworkPolicy"}
_LONG = 2000.0
"""Seconds of virtual time after which nothing more is expected."""


def space(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def pod(name: str, address: str = "", **labels: str) -> dict[str, Any]:
    status = {"podIPs": [{"ip": address}]} if address else {}
    return {"metadata": {"name": name, "namespace": "a", "labels": labels}, "spec": {"nodeName": "n"}, "status": status}


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a"}, "spec": {"podSelector": {}} | spec}


def world_of(api: FakeApi) -> dict[Key, Object]:
    """What the API holds, as the reader of folders reads it; the node is another one than that of the follower."""
    found = [decode(kind, body) for path, kind in KINDS.items() for body in api.objects(path)]
    return {key_of(thing): thing for thing in found if thing}


@dataclass
class Follower:
    """What was told. `world` are the objects that are left after all batches."""

    told: list[Batch | Trouble] = field(default_factory=list)
    world: dict[Key, Object] = field(default_factory=dict)
    at: list[float] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    on: Callable[[Batch], None] = lambda _: None

    @property
    def batches(self) -> list[Batch]:
        return [each for each in self.told if isinstance(each, Batch)]

    @property
    def troubles(self) -> list[Trouble]:
        return [each for each in self.told if isinstance(each, Trouble)]

    @property
    def trouble(self) -> str:
        """What is wrong now."""
        return self.troubles[-1].text if self.troubles else ""

    async def follow(self, source: AsyncIterator[Batch | Trouble]) -> None:
        async for each in source:
            self.told.append(each)
            self.at.append(asyncio.get_running_loop().time())
            if isinstance(each, Batch):
                self._apply(each)
                self.on(each)
            self.news.set()

    def _apply(self, batch: Batch) -> None:
        for event in batch.events:
            match event:
                case Put(thing=thing):
                    self.world[key_of(thing)] = thing
                case Gone(key=key):
                    self.world.pop(key, None)

    async def until(self, condition: Callable[[], bool], within: float = _LONG) -> None:
        """Wait until this holds."""
        async with asyncio.timeout(within):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def caught_up(self, api: FakeApi) -> None:
        """Wait until the world is that of the API."""
        await self.until(lambda: bool(self.batches) and self.world == world_of(api))


@asynccontextmanager
async def following(
    *apis: FakeApi, access: Access | None = None, node: str = "other", hurry: bool = False
) -> AsyncIterator[Follower]:
    """A follower of started servers, which are stopped in the end."""
    found = replace(access or Access(()), servers=tuple(api.url for api in apis))
    follower, numbers = Follower(), iter(range(1 << 30))
    async with Client(found) as client:
        source = watch(client, node, hurry=hurry, chance=lambda: next(numbers) % 7 / 7, clock=lambda: 0.0)
        task = asyncio.create_task(follower.follow(source))
        try:
            yield follower
        finally:
            task.cancel()
            done = await asyncio.gather(task, return_exceptions=True)
            for api in apis:
                await api.stop()
            assert isinstance(done[0], asyncio.CancelledError), done


@asynccontextmanager
async def serving(*, hurry: bool = False, **settings: Any) -> AsyncIterator[tuple[FakeApi, Follower]]:
    """A server with a namespace, a pod and a policy in it, and who follows it."""
    api = FakeApi(**settings)
    for path, body in ((NAMESPACES, space("a")), (PODS, pod("one", "10.44.0.1")), (POLICIES, policy("closed"))):
        api.put(path, body)
    api.put(NODES, {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.44.0.0/24"]}})
    await api.start()
    async with following(api, hurry=hurry) as follower:
        yield api, follower


def encoded(body: Any) -> bytes:
    """As JSON."""
    return msgspec.json.encode(body)
