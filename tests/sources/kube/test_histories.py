"""Random histories of a server and of the way to it: whoever follows it holds in the end what the server holds.

On the way nothing is reported gone that was there all the time: the follower's mistake would open or close something.
"""

import asyncio
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from follower import NAMESPACES, NODES, PODS, POLICIES, Follower, following, pod, policy, space
from vallum.lab.bench.fakeapi import CLOSE, Answer, FakeApi, Request, status
from vallum.model.snapshot import Batch, Gone, Key
from virtual import run

STREAMS = ("yes", "refused", "error", "ignored")
# a server that is cut down in the middle leaves connections to the collector; test_client sees to those of the client
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class History:
    """A server to which things happen. `stable`: what is there from the beginning to the end."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.api = FakeApi(streams=random.choice(STREAMS), bookmarks=random.random() < 0.8)
        self.stable: set[Key] = {("Namespace", "", "a"), ("Pod", "a", "stays"), ("Policy", "a", "stays")}
        self.api.put(NAMESPACES, space("a"))
        self.api.put(PODS, pod("stays", "10.44.0.99"))
        self.api.put(POLICIES, policy("stays"))
        self.faults = 0

    def rule(self, _: Request) -> Answer | None:
        """Now and then an answer is lost, refused or late."""
        if self.random.random() > 0.25 or not self.faults:
            return None
        self.faults -= 1
        if self.random.random() < 0.3:
            self._change()
        choices = [CLOSE, status(503, "later", ("Retry-After: 2",)), status(410, "too old"), status(500, "etcd")]
        return self.random.choice([*choices, Answer(200, b'{"type":"ADDED","object":{"meta'), None])

    async def step(self) -> None:
        """Something happens."""
        match self.random.randrange(9):
            case 0:
                self.api.cut()
            case 1:
                self.api.compact()
                self.api.cut()
            case 2:
                await self.api.restart()
            case 3:
                self.faults += 3
            case 4:
                await asyncio.sleep(self.random.choice((0.01, 1.0, 70.0, 400.0)))
            case _:
                for _ in range(self.random.randint(1, 4)):
                    self._change()
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.5)))

    def _change(self) -> None:
        path = self.random.choice((PODS, PODS, POLICIES, NAMESPACES, NODES))
        name = f"n{self.random.randrange(4)}"
        if self.random.random() < 0.4:
            self.api.delete(path, name, "a" if path in (PODS, POLICIES) else "")
        elif path == PODS:
            self.api.put(PODS, pod(name, f"10.44.0.{self.random.randrange(4)}", app=self.random.choice("xy")))
        elif path == POLICIES:
            self.api.put(POLICIES, policy(name, **self.random.choice(({}, {"ingress": [{}]}, {"egress": [{}]}))))
        else:
            self.api.put(path, space(name, app=self.random.choice("xy")))


async def lived(random: Random, steps: int) -> None:
    history = History(random)
    api = history.api
    api.rule = history.rule
    await api.start()
    async with following(api) as told:
        told.on = lambda batch: nothing_stable_is_gone(batch, history.stable)
        for _ in range(steps):
            await history.step()
        history.faults = 0
        api.put(POLICIES, policy("last"))
        await told.caught_up(api)
        await settled(told)
        assert int(told.batches[-1].revision) <= api.version


def nothing_stable_is_gone(batch: Batch, stable: set[Key]) -> None:
    assert not {event.key for event in batch.events if isinstance(event, Gone)} & stable


async def settled(told: Follower) -> None:
    await told.until(lambda: not told.trouble)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.integers(1, 25))
def test_whatever_happens_the_world_in_the_end_is_the_servers(seed: int, steps: int):
    run(lived(Random(seed), steps))  # a draw of hypothesis' own would depend on how fast sockets are


@pytest.mark.parametrize("streams", STREAMS)
def test_a_long_history_ends_well_too(streams: str):
    async def work() -> None:
        await lived(Random(f"{streams} of old"), 120)

    run(work())
