"""Assembly: source, kernel events and pace lead to reconciles; the kernel's records lead to drops. One TaskGroup."""

import asyncio
import gc
import logging
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vallum.agent.answers import explanation, world
from vallum.agent.api import Answer, Api
from vallum.agent.hands import Hands
from vallum.agent.pace import Pace
from vallum.agent.reconcile import Report, reconcile
from vallum.agent.settings import Settings
from vallum.agent.status import Status
from vallum.agent.world import World
from vallum.analysis.asked import Asked
from vallum.dataplane import Denials, Meddling, Reports
from vallum.flows.drops import Drops
from vallum.kernel.rtevents import Change, RouteWatch
from vallum.model.errors import InputErrors, KernelError
from vallum.model.snapshot import Batch
from vallum.policy.compile import Engine
from vallum.policy.judge import Judge
from vallum.sources import folder

_log = logging.getLogger("vallum.agent")


class Agent:
    """One node's agent. Construct it in the node's network namespace; `run` returns when told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hands = Hands.open(settings)
        self._engine = Engine(settings.node)
        self._world = World()
        self._pace = Pace(settings.least, settings.most, wanted=False)
        self._status = Status(settings)
        self._drops = Drops()
        self._judge: Judge | None = None
        self._bug: BaseException | None = None
        self._doubts: list[Meddling] = []
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, "planes")
        self._asked: Asked | None = None
        answers: dict[str, Answer] = {
            "drops": lambda _: [drop.facts() for drop in self._drops.ring],
            "explain": lambda request: explanation(self._asked, request),
            "world": lambda _: world(self._asked),
        }
        self._api = Api(settings.socket, self._facts, answers)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. The kernel is left as it is: enforcement goes on (stance 20)."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        loop.set_exception_handler(self._broke)
        self._listen(loop)
        server = await self._api.serve()
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._follow()), tasks.create_task(self._enforce())]
                await self._stop.wait()
                for task in running:
                    task.cancel()
        finally:
            server.close()
            self._settings.socket.unlink(missing_ok=True)
            self._worker.shutdown()
        if self._bug is not None:
            raise self._bug

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug in a callback stops all, as one in a task does: the kernel enforces on, and we are restarted."""
        loop.default_exception_handler(context)
        self._bug = context.get("exception")
        if self._bug is not None:
            self._stop.set()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._meddling: list[Reports[Meddling]] = []
        for plane in self._hands.planes:
            events, denials = plane.events(), plane.denials()
            if events is not None:
                self._meddling.append(events)
                loop.add_reader(events.fileno(), self._meddled)
            if denials is not None:
                loop.add_reader(denials.fileno(), self._denied, denials)
        routes = RouteWatch()
        loop.add_reader(routes.fileno(), lambda: self._rewired(routes))

    async def _follow(self) -> None:
        async for found in folder.watch(self._settings.world):
            if isinstance(found, Batch):
                self._world.apply(found)
                self._status.source_fault = None
                self._want()
            else:
                self._fault(found)

    def _fault(self, found: InputErrors) -> None:
        """The last good world stays; status says what is wrong with the new one."""
        self._status.source_fault = str(found)
        _log.warning("the world cannot be read, the last good one stays:\n%s", found)
        self._api.publish({"event": "status"} | self._facts())

    def _want(self) -> None:
        self._pace.want()
        self._wake.set()

    async def _enforce(self) -> None:
        """Reconcile when the pace says so. A refusal of the kernel is said, kept and tried again."""
        while True:
            while (wait := self._pace.wait(time.monotonic())) > 0:
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), None if wait == float("inf") else wait)
                except TimeoutError:
                    self._doubts.append(Meddling("", "the regular look"))
            if not self._world.snapshot.revision:
                self._pace.ended(time.monotonic(), fine=True)
                continue
            await self._once()

    async def _once(self) -> None:
        self._pace.started()
        doubts, self._doubts = self._doubts, []
        doubt = bool(doubts) or self._status.report is None or self._status.kernel_fault is not None
        call = asyncio.get_running_loop().run_in_executor(
            self._worker,
            lambda: reconcile(self._world.snapshot, self._settings, self._engine, self._hands, doubt=doubt),
        )
        try:
            report = await asyncio.shield(call)
        except KernelError as error:
            self._status.kernel_fault = str(error)
            _log.warning("%s", error)
            self._doubts += doubts
            self._pace.ended(time.monotonic(), fine=False)
        else:
            self._meddled()  # whoever caused what was found may be heard of only now
            self._done(report, [*doubts, *self._doubts])
            self._pace.ended(time.monotonic(), fine=True)
        self._meddled()
        self._api.publish({"event": "status"} | self._facts())

    def _done(self, report: Report, doubts: list[Meddling]) -> None:
        self._judge, self._asked = Judge(report.ruleset), Asked(report.snapshot, report.ruleset.sets.people)
        if self._status.report is None:
            gc.collect()
            gc.freeze()  # what the first world brought stays for long: no later collection looks through it again
            _log.info("enforcing revision %s on node %s", report.snapshot.revision, self._settings.node)
        self._status.report = report
        self._status.kernel_fault = None
        self._status.reconciles += 1
        repairs = [(name, *_culprit(doubts)) for name in report.repaired]
        repairs += [("routes", "unknown program", str(drift)) for drift in report.wiring.drift]
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
        if found & {Change.LINKS, Change.SETTINGS, Change.DOUBT}:  # rp_filter is ours and shows as either
            self._doubts.append(Meddling("", "an interface setting changed"))
        if found:
            self._want()

    def _denied(self, denials: Denials) -> None:
        found, judge, asked = denials.drain(), self._judge, self._asked
        self._status.unrecorded = denials.lost
        if judge is None or asked is None:
            return
        for denial in found:
            drop = self._drops.add(denial, judge, asked)
            if drop is not None:
                self._api.publish({"event": "drop"} | drop.facts())

    def _facts(self) -> dict[str, Any]:
        return self._status.facts(self._drops.count)


def _culprit(doubts: list[Meddling]) -> tuple[str, str]:
    """Who changed what is ours, and what: the last change that names somebody."""
    named = [doubt for doubt in doubts if doubt.by]
    return (named[-1].by, named[-1].what) if named else ("unknown program", "found by reading back")
