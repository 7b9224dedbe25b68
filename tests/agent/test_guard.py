"""A pod's link goes up when the kernel holds its rules, and not before."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from build import pod
from vallum.agent import guard
from vallum.agent.guard import Guard
from vallum.agent.world import World
from vallum.cni.result import CniError, Code
from vallum.model.address import pack
from vallum.model.attachment import Attachment, LocalNode, PodAttachment
from vallum.model.objects import PodId
from vallum.model.snapshot import Batch, Gone, Put, key_of

WEB = pod("a/web", node="node1", app="web")
ADDRESS = ip_address("10.44.1.7")
WIRED = PodAttachment(WEB.id, "u1", "container1", "eth0", "vp1", (ADDRESS,))


class Bench:
    """A guard, and what it asked for."""

    def __init__(self) -> None:
        self.world = World("node1")
        self.wanted = 0
        self.fault: str | None = None
        self.guard = Guard(self.world, self._want, lambda: self.fault)

    def _want(self) -> None:
        self.wanted += 1

    def tell(self, *events: Put | Gone) -> None:
        self.world.apply(Batch(events, "one"))

    def addresses(self) -> tuple[str, ...]:
        return tuple(map(str, self.world.snapshot.pods[WEB.id].addresses))

    def reconciled(self, *attachments: PodAttachment) -> None:
        """As the agent does it after a reconcile."""
        self.guard.enforced(
            LocalNode(
                "node1", tuple(Attachment(a.pod, a.interface, tuple(map(pack, a.addresses))) for a in attachments)
            )
        )


def beside(piece: Callable[[Bench], Awaitable[None]]) -> None:
    asyncio.run(piece(Bench()))


async def still(waiting: "asyncio.Task[None]") -> bool:
    """Reports whether it goes on waiting when everything that is ready has run."""
    await asyncio.wait([waiting], timeout=0.01)
    return not waiting.done()


def test_a_wired_pod_has_its_address_before_the_api_tells_of_it():
    bench = Bench()
    bench.world.attach(WIRED)
    bench.tell(Put(WEB))
    assert bench.addresses() == ("10.44.1.7",)


def test_what_the_api_says_of_the_address_of_a_wired_pod_does_not_count():
    bench = Bench()
    bench.tell(Put(WEB))
    bench.world.attach(WIRED)
    bench.tell(Put(replace(WEB, addresses=(ip_address("10.44.1.99"),))))
    assert bench.addresses() == ("10.44.1.7",)
    bench.world.detach(WIRED)
    assert bench.addresses() == ("10.44.1.99",)


def test_an_attachment_of_an_earlier_pod_of_the_name_gives_the_new_one_nothing():
    bench = Bench()
    bench.world.attach(WIRED)
    bench.tell(Put(replace(WEB, uid="u2")))
    assert bench.addresses() == ()
    assert not bench.world.knows(WIRED)


def test_the_youngest_of_two_attachments_counts_until_it_goes():
    bench = Bench()
    bench.tell(Put(WEB))
    bench.world.attach(WIRED)
    young = replace(WIRED, container="container2", interface="vp2", addresses=(ip_address("10.44.1.8"),))
    bench.world.attach(young)
    assert bench.addresses() == ("10.44.1.8",)
    bench.world.detach(WIRED)
    assert bench.addresses() == ("10.44.1.8",)
    bench.world.detach(young)
    assert bench.addresses() == ()


def test_pods_of_other_nodes_are_as_the_api_says():
    bench = Bench()
    bench.world.attach(WIRED)
    bench.tell(Put(replace(WEB, node="node2")))
    assert bench.addresses() == ()


def test_a_pod_that_is_gone_stays_gone_whatever_is_attached():
    bench = Bench()
    bench.world.attach(WIRED)
    bench.tell(Put(WEB))
    bench.tell(Gone(key_of(WEB)))
    bench.world.detach(WIRED)
    assert PodId("a", "web") not in bench.world.snapshot.pods


def test_the_wait_ends_with_the_first_reconcile_that_holds_the_pod_on_its_link():
    async def piece(bench: Bench) -> None:
        bench.tell(Put(WEB))
        waiting = asyncio.create_task(bench.guard.protect(WIRED))
        assert await still(waiting)
        assert bench.wanted == 1
        bench.reconciled()
        bench.reconciled(replace(WIRED, pod=PodId("a", "another")))
        bench.reconciled(replace(WIRED, addresses=(ip_address("10.44.1.9"),)))
        assert await still(waiting)
        bench.reconciled(WIRED)
        await waiting

    beside(piece)


@pytest.mark.parametrize(("known", "fault"), [(False, None), (False, "no API server answers"), (True, "no memory")])
def test_after_its_patience_the_wait_ends_with_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, known: bool, fault: str | None
):
    monkeypatch.setattr(guard, "PATIENCE", 0.01)

    async def piece(bench: Bench) -> None:
        bench.fault = fault
        if known:
            bench.tell(Put(WEB))
        with pytest.raises(CniError) as caught:
            await bench.guard.protect(WIRED)
        assert caught.value.code is Code.TRY_LATER
        text = str(caught.value)
        assert "a/web" in text
        assert ("the API has not told of pod" in text) is not known
        assert (fault or "") in text

    beside(piece)


def test_a_pod_that_goes_while_somebody_waits_is_released_once_and_for_all():
    async def piece(bench: Bench) -> None:
        bench.tell(Put(WEB))
        waiting = asyncio.create_task(bench.guard.protect(WIRED))
        assert await still(waiting)
        await bench.guard.release(WIRED)
        await bench.guard.release(WIRED)
        assert bench.addresses() == ()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        bench.reconciled(WIRED)

    beside(piece)
