"""Assembly: source, kernel events and pace lead to reconciles; the kernel's records lead to drops. One TaskGroup."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vallum.agent import health
from vallum.agent.addressing import Addressing, Duty, PodCidrs
from vallum.agent.answers import explanation, world
from vallum.agent.api import Answer, Api
from vallum.agent.guard import Guard
from vallum.agent.hands import Hands
from vallum.agent.nodestate import state
from vallum.agent.notify import notify, watchdog
from vallum.agent.pace import Pace
from vallum.agent.reconcile import Report, reconcile
from vallum.agent.runtime import Runtime
from vallum.agent.settings import Cni, Settings
from vallum.agent.status import Status
from vallum.agent.world import World
from vallum.analysis.asked import Asked
from vallum.dataplane import Denials, Meddling, Reports
from vallum.flows.drops import Drops
from vallum.kernel.rtevents import Change, RouteWatch
from vallum.model.address import show
from vallum.model.attachment import LocalNode
from vallum.model.errors import InputErrors, KernelError
from vallum.model.snapshot import Batch
from vallum.policy.compile import Engine
from vallum.policy.judge import Judge
from vallum.sources.kube.trouble import Trouble

if TYPE_CHECKING:
    from vallum.agent.publish import Publisher
    from vallum.agent.shared import SharedPools

_log = logging.getLogger("vallum.agent")
_USUAL = gc.get_threshold()
_MANY = 100_000
"""Objects between two collections while the first world is read: none of it is garbage."""
_CALM = 0.05
"""Seconds from the first change of a link or route to a look at them, unless there is one before; and of quiet before
what changes left behind is removed.
"""

_LULL = 0.002
"""Seconds between two looks at denials at least."""
_TURN = 0.0005
"""Seconds that a thread may keep the interpreter from another: a change shall not wait for what is told meanwhile."""


class Agent:
    """One node's agent. Construct it in the node's network namespace; `run` returns when told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hands = Hands.open(settings)
        self._engine = Engine(settings.node)
        self._world = World(settings.node)
        self._pace = Pace(settings.least, settings.most, wanted=False)
        self._status = Status(settings)
        self._drops = Drops()
        self._judge: Judge | None = None
        self._bug: BaseException | None = None
        self._doubts: list[Meddling] = []
        self._wake = asyncio.Event()
        self._untidy = False
        self._busy = False
        self._heard: float | None = None
        self._stop = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, "planes")
        self._asked: Asked | None = None
        answers: dict[str, Answer] = {
            "drops": lambda _: [drop.facts() for drop in self._drops.ring],
            "explain": lambda request: explanation(self._asked, request),
            "world": lambda _: world(self._asked),
            "doctor": lambda _: self._examination(),
        }
        self._api = Api(settings.socket, self._facts, answers)
        self._guard = Guard(self._world, self._want, lambda: self._status.source_fault or self._status.kernel_fault)
        self._publisher: Publisher | None = None
        self._runtime: Runtime | None = None
        self._shared: SharedPools | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. The kernel is left as it is: enforcement goes on (stance 20)."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        loop.set_exception_handler(self._broke)
        gc.set_threshold(_MANY)
        sys.setswitchinterval(_TURN)
        self._listen(loop)
        async with AsyncExitStack() as open_:
            open_.callback(self._worker.shutdown)
            server = await self._api.serve()
            open_.callback(self._settings.socket.unlink, missing_ok=True)
            open_.callback(server.close)
            await self._serve_health(open_)
            duties = [self._enforce, self._live, *await self._wired(open_), *await self._sourced(open_)]
            duties += self._runtime.duties() if self._runtime is not None else []
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(duty()) for duty in duties]
                await self._stop.wait()
                notify("STOPPING=1")
                for task in running:
                    task.cancel()
        if self._bug is not None:
            raise self._bug

    async def _sourced(self, open_: AsyncExitStack) -> list[Duty]:
        """The duties towards the source: to follow it, and in a cluster to tell it the state of this node."""
        source = self._settings.source
        # what reads files, and what speaks HTTP, takes 0.1 s each to import, which the other need not pay
        if isinstance(source, Path):
            from vallum.sources import folder  # noqa: PLC0415

            return [partial(self._follow, folder.watch(source))]
        from vallum.agent.publish import Publisher  # noqa: PLC0415
        from vallum.sources import kube  # noqa: PLC0415
        from vallum.sources.kube.access import in_cluster  # noqa: PLC0415
        from vallum.sources.kube.client import Client  # noqa: PLC0415

        if source.kubeconfig is None:
            access = in_cluster()
        else:
            from vallum.sources.kube.kubeconfig import from_kubeconfig  # noqa: PLC0415 - YAML

            access = from_kubeconfig(source.kubeconfig)
        client = await open_.enter_async_context(Client(access))
        if self._shared is not None:
            self._shared.connect(client)
            open_.callback(self._shared.close)
        self._publisher = Publisher(client, self._settings.node, self._state)
        return [partial(self._follow, kube.watch(client, self._settings.node, hurry=True)), self._publisher.run]

    async def _wired(self, open_: AsyncExitStack) -> list[Duty]:
        """The duty towards the container runtime, if there is any. What it wired before is known from now on.

        Raises InputError for networks of a ledger that the cluster's Services lie in.
        """
        cni = self._settings.cni
        if cni is None:
            return []
        addressing = self._addressing(cni)
        self._settings.travel.check(self._world.snapshot.pools.values())
        self._runtime = Runtime(cni, self._guard, addressing)
        open_.callback(self._runtime.close)
        await self._runtime.open()
        return [self._runtime.serve]

    def _addressing(self, cni: Cni) -> Addressing:
        """Where addresses come from. Raises InputError for a ledger that cannot be used."""
        node = self._settings.node
        match cni.ipam:
            case "cluster":
                from vallum.agent.shared import SharedPools  # noqa: PLC0415 - HTTP, as above

                self._shared = SharedPools(node, cni.ledger, self._world, self._readdressed)
                return self._shared
            case "ledger":
                from vallum.agent.ledgered import LedgerPools  # noqa: PLC0415 - SQLite, as above

                return LedgerPools(node, cni.ledger, self._world, self._readdressed)
            case _:
                return PodCidrs(cni.state_dir / "addresses.json")

    def _readdressed(self) -> None:
        """Whose ranges are which has changed, or whether pods can get addresses."""
        self._want(moved=False)
        self._told()

    async def _serve_health(self, open_: AsyncExitStack) -> None:
        if self._settings.health is None:
            return
        server = await health.serve(*self._settings.health, self._status.unready)
        open_.callback(server.close)

    async def _live(self) -> None:
        """Signs of life for a service manager that wants them, as long as this loop turns."""
        period = watchdog()
        while period is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(period)

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug in a callback stops all, as one in a task does: the kernel enforces on, and we are restarted."""
        loop.default_exception_handler(context)
        self._bug = context.get("exception")
        if self._bug is not None:
            self._stop.set()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._meddling: list[Reports[Meddling]] = []
        watched = [self._hands.roads.events(), *(plane.events() for plane in self._hands.planes)]
        for events in filter(None, watched):
            self._meddling.append(events)
            loop.add_reader(events.fileno(), self._meddled)
        for plane in self._hands.planes:
            denials = plane.denials()
            if denials is not None:
                loop.add_reader(denials.fileno(), self._denied, denials)
        routes = RouteWatch()
        loop.add_reader(routes.fileno(), lambda: self._rewired(routes))

    async def _follow(self, found: AsyncIterator[Batch | InputErrors | Trouble]) -> None:
        async for each in found:
            match each:
                case Batch():
                    self._world.apply(each)
                    self._heard = self._heard or time.monotonic()
                    if isinstance(self._settings.source, Path):  # a folder that is read again has no fault left
                        self._status.source_is(None)
                    self._want(moved=False)
                case InputErrors():
                    self._fault(str(each), None)
                case Trouble():
                    self._fault(each.text, each.since, each.objects)

    def _fault(self, text: str, since: str | None, unread: tuple[str, ...] = ()) -> None:
        """The last good world stays; status says what is wrong with the new one, and since when."""
        self._status.source_is(text or None, since)
        self._status.unread = unread
        for each in unread:
            _log.warning("%s", each)
        if text:
            _log.warning("the world cannot be read, the last good one stays:\n%s", text)
        self._told()

    def _want(self, *, moved: bool = True) -> None:
        """Another reconcile, which looks at links and routes again unless the world alone has changed."""
        self._hands.moved |= moved
        self._pace.want()
        self._wake.set()

    async def _enforce(self) -> None:
        """Reconcile when the pace says so. A refusal of the kernel is said, kept and tried again."""
        while True:
            while (wait := self._pace.wait(time.monotonic())) > 0:
                self._wake.clear()
                untidy = self._untidy
                try:
                    # wait_for can lose a cancel
                    async with asyncio.timeout(min(wait, _CALM) if untidy else wait if wait < float("inf") else None):
                        await self._wake.wait()
                except TimeoutError:
                    if untidy:
                        await self._tidy()
                    else:
                        self._doubts.append(Meddling("", "the regular look"))
            if not self._world.snapshot.revision:
                self._pace.started()  # what was wanted so far waits for the world, whose first batch wants again
                self._pace.ended(time.monotonic(), fine=True)
                continue
            await self._once()

    async def _tidy(self) -> None:
        """Nothing is wanted just now: what the last changes left in the kernel can go."""
        self._untidy = False
        try:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._worker, self._hands.tidy))
        except KernelError as error:
            _log.warning("%s", error)
            self._doubts.append(Meddling("", f"what could not be removed: {error}"))
            self._want()

    async def _once(self) -> None:
        self._pace.started()
        self._untidy = self._busy = True
        doubts, self._doubts = self._doubts, []
        heard, self._heard = self._heard, None
        doubt = bool(doubts) or self._status.report is None or self._status.kernel_fault is not None
        self._hands.moved |= doubt
        self._hands.shifted |= doubt
        self._hands.routing = self._shared is None or self._shared.heard
        self._hands.roads.sources = self._runtime.sources() if self._runtime is not None else None
        loop = asyncio.get_running_loop()

        def held(local: LocalNode) -> None:
            loop.call_soon_threadsafe(partial(self._guard.enforced, local))

        call = loop.run_in_executor(
            self._worker,
            lambda: reconcile(self._world.snapshot, self._settings, self._engine, self._hands, held, doubt=doubt),
        )
        try:
            report = await asyncio.shield(call)
        except KernelError as error:
            self._status.kernel_is(str(error))
            _log.warning("%s", error)
            self._doubts += doubts
            self._pace.ended(time.monotonic(), fine=False)
        else:
            self._meddled()  # whoever caused what was found may be heard of only now
            moments = replace(report.moments, heard=heard or report.moments.begun)
            self._done(replace(report, moments=moments), [*doubts, *self._doubts])
            self._pace.ended(time.monotonic(), fine=True)
        self._busy = False
        self._meddled()
        self._told()

    def _told(self) -> None:
        """Whoever wants to know how this node does gets to know it."""
        self._api.publish({"event": "status"} | self._facts())
        if self._runtime is not None:
            own = self._world.snapshot.nodes.get(self._settings.node)
            report = self._status.report
            self._runtime.know(self._status.unready(), own, report.plan if report is not None else None)
        if self._publisher is not None:
            self._publisher.changed()

    def _done(self, report: Report, doubts: list[Meddling]) -> None:
        self._judge, self._asked = Judge(report.ruleset), Asked(report.snapshot, report.ruleset.sets.people)
        if self._status.report is None:
            asyncio.get_running_loop().call_soon(_settled)
            _log.info("enforcing revision %s on node %s", report.snapshot.revision, self._settings.node)
            notify(f"READY=1\nSTATUS=enforcing on node {self._settings.node}")
        self._status.report = report
        self._status.kernel_is(None)
        self._status.reconciles += 1
        repairs = [(name, *_culprit(doubts)) for name in report.repaired]
        repairs += [("gate", _culprit(doubts)[0], drift) for drift in report.gate]
        repairs += [("routes", "unknown program", drift) for drift in report.wiring.drift]
        for repair in repairs:
            self._status.repair(*repair)
            _log.warning("restored %s, changed by %s: %s", *repair)

    def _meddled(self) -> None:
        found = [event for reports in self._meddling for event in reports.drain()]
        if found:
            self._doubts += found
            self._want()

    def _rewired(self, routes: RouteWatch) -> None:
        found = routes.read()
        if Change.DOUBT in found:
            self._doubts.append(Meddling("", "more changes of links and routes than were told"))
        self._hands.shifted |= bool(found - {Change.PODS})
        if found and not self._hands.moved:
            self._hands.moved = True  # an rp_filter is ours too: the next look is at them all
            asyncio.get_running_loop().call_later(_CALM, self._look)

    def _look(self) -> None:
        """A link that is made is a dozen changes, and mostly somebody wants a reconcile who knows that it is done."""
        if self._hands.moved:
            self._want()

    def _denied(self, denials: Denials) -> None:
        """A flood may take a quarter of our time, and none while a change is on its way: the rest waits in the kernel,
        which counts what it loses.
        """
        loop = asyncio.get_running_loop()
        loop.remove_reader(denials.fileno())
        began = loop.time()
        if not self._busy:
            self._tell(denials)
        rest = max(_LULL, 3 * (loop.time() - began))
        loop.call_later(rest, loop.add_reader, denials.fileno(), self._denied, denials)

    def _tell(self, denials: Denials) -> None:
        found, judge, asked = denials.drain(), self._judge, self._asked
        self._status.unrecorded = denials.lost
        if judge is None or asked is None:
            return
        for denial in found:
            drop = self._drops.add(denial, judge, asked)
            if drop is not None:
                self._api.publish({"event": "drop"} | drop.facts())

    def _state(self) -> dict[str, Any] | None:
        """What is published of this node, None before it enforces anything or says why it cannot."""
        report = self._status.report
        if report is None and self._status.kernel_fault is None:
            return None
        own = sorted(map(show, report.local.addresses)) if report else []
        return state(self._facts(), tuple(own))

    def _examination(self) -> Iterator[dict[str, Any]]:
        from vallum.agent.examine import examination  # noqa: PLC0415 - enforcing must not wait for it

        return examination(self._status.report, self._settings)

    def _facts(self) -> dict[str, Any]:
        if self._runtime is not None:
            self._status.unwired = self._runtime.problems()
        return self._status.facts(self._drops.count)


def _settled() -> None:
    """What the first world brought stays for long: no later collection looks through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_USUAL)


def _culprit(doubts: list[Meddling]) -> tuple[str, str]:
    """Who changed what is ours, and what: the last change that names somebody."""
    named = [doubt for doubt in doubts if doubt.by]
    return (named[-1].by, named[-1].what) if named else ("unknown program", "found by reading back")
