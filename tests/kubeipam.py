"""A fake API in a thread of its own, and what an agent keeps of addresses in it, driven by hand."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from vallum.ipam import Owner, Request
from vallum.ipam.ledger import Ledger
from vallum.lab.bench.fakeapi import FakeApi
from vallum.model.objects import PodId
from vallum.model.selector import labels
from vallum.model.snapshot import Batch, Event, Gone, Put
from vallum.sources.kube.access import Access
from vallum.sources.kube.ipam_api import ConflictError
from vallum.sources.kube.ipam_bridge import Remote, opened
from vallum.sources.kube.ipam_forms import KINDS, Stored, name_of
from vallum.sources.kube.ipam_host import HostStore
from vallum.sources.kube.ipam_pools import ClusterPools

Result = TypeVar("Result")
NODES = "/api/v1/nodes"


@dataclass(frozen=True, slots=True)
class Server:
    """A fake API that runs beside the test. `do` has its loop do something."""

    api: FakeApi
    loop: asyncio.AbstractEventLoop

    def do(self, work: Callable[[], Result]) -> Result:
        """Run it between two requests."""

        async def body() -> Result:
            return work()

        return asyncio.run_coroutine_threadsafe(body(), self.loop).result(10)

    def specs(self, plural: str) -> dict[str, Any]:
        """What stands there, by name."""
        found = self.do(lambda: self.api.objects(f"/apis/vallum.dev/v1alpha1/{plural}"))
        return {each["metadata"]["name"]: each["spec"] for each in found}

    @contextmanager
    def remote(self) -> Iterator[Remote]:
        """A way in for one thread."""
        with opened(Access((self.api.url,))) as found:
            yield found


@contextmanager
def server() -> Iterator[Server]:
    """An empty API."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    api = FakeApi()
    for kind in KINDS:
        api.load(kind.path, ())
    api.load(NODES, ())
    asyncio.run_coroutine_threadsafe(api.start(), loop).result(10)
    try:
        yield Server(api, loop)
    finally:
        asyncio.run_coroutine_threadsafe(api.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Life:
    """One life of an agent as far as addresses go: its store, and news and jobs when the test says so.

    `uses`: what the kernel of the node says, by owner; it outlives the agent.
    """

    def __init__(self, remote: Remote, ledger: Path, host: str, uses: dict[Owner, str], clock: list[float]) -> None:
        self.remote, self.host, self.uses = remote, host, uses
        self.ledger = Ledger(ledger, lambda: clock[0], lambda: "boot")
        self.store = HostStore(host, self.ledger, remote, chance=lambda _: 0, sleep=lambda _: None)
        self.pools = ClusterPools(self.store, remote, host, lambda name: labels({"name": name}))
        self._seen: dict[tuple[str, str, str], Stored] = {}

    def look(self) -> None:
        """Read back what is in use, as an agent does when it starts and where it doubts."""
        self.pools.adopt({owner: tuple(map(ip_address, text.split())) for owner, text in self.uses.items()})

    def news(self) -> None:
        """What changed in the API since the last time."""
        found = {each.key: each for each in self.remote.everything()}
        events: list[Event] = [Put(each) for key, each in found.items() if self._seen.get(key) != each]  # type: ignore[arg-type]
        events += [Gone(key) for key in self._seen if key not in found]
        self._seen = found
        self.store.hear(Batch(tuple(events), ""))
        self.store.state()

    def begin(self, **marks: str) -> "Life":
        """All that an agent does before the first pod."""
        self.look()
        self.news()
        self.look()
        self.pools.join(labels(marks), ())
        return self

    def add(self, owner: Owner, *wanted: str, space: str = "shop") -> str:
        """An ADD: the addresses as text, in use from now on."""
        request = Request(owner, PodId(space, owner), tuple(map(ip_address, wanted)))
        self.uses[owner] = " ".join(map(str, self.pools.allocate(request).addresses))
        return self.uses[owner]

    def delete(self, owner: Owner) -> None:
        """A DEL."""
        self.uses.pop(owner, None)
        self.pools.free(owner)

    def keep(self, *, publish: bool = True) -> list[str]:
        """Write what is due; what that was."""
        told = []
        for job in self.store.due(publish=publish):
            name, kind = name_of(job.record), type(job.record).__name__
            told.append(f"{'-' if job.remove else '+'} {kind} {name}")
            try:
                found = None if job.remove else self.remote.put(job.record)
                if job.remove:
                    self.remote.remove(job.record)
            except ConflictError:
                found = self.remote.find(kind, name)
            self.store.done(job, found)
        return told
