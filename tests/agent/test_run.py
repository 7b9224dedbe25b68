"""The agent as it runs, with a plane that fails, forgets and reports as told: what it keeps, retries and says."""

import asyncio
import signal
import socket
import struct
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from build import NODE1, pod, policy, space
from fakeplane import PATIENCE, Run, running, with_agent
from inside import run_inside
from vallum import dataplane
from vallum.agent.ask import ask
from vallum.agent.run import Agent
from vallum.agent.settings import Settings
from vallum.dataplane import Denial, Meddling
from vallum.policy.ruleset import Way

pytestmark = pytest.mark.packets

POD = pod("a/x", "10.44.1.1")
WORLD = (NODE1, space("a"), POD)
CLOSED = (*WORLD, policy("a/closed", ingress=[]))


def held(run: Run) -> int:
    """How many policies isolate the pod in what the plane holds; -1 if it holds nothing."""
    program = run.plane._program
    return -1 if program is None else len(program.ruleset.locals[0].ingress.policies)


def test_a_change_of_the_world_reaches_the_plane():
    async def piece(run: Run) -> tuple[int, int]:
        before = held(run)
        run.write(CLOSED)
        await run.until(lambda status: status["policies"] == 1)
        return before, held(run)

    assert with_agent(piece, WORLD) == (0, 1)


def test_a_plane_that_fails_keeps_the_last_good_state_and_is_tried_again_later_and_later():
    async def piece(run: Run) -> tuple[Any, ...]:
        run.plane.fault = "nftables: out of patience"
        run.write(CLOSED)
        failing = await run.until(lambda status: status["kernel"] is not None and run.plane.attempts >= 4)
        kept, attempts = held(run), run.plane.attempts
        run.plane.fault = None
        fine = await run.until(lambda status: status["kernel"] is None)
        return failing["kernel"], failing["healthy"], failing["policies"], kept, attempts, fine["policies"], held(run)

    fault, healthy, policies, kept, attempts, enforced, now = with_agent(piece, WORLD)
    assert (fault, healthy) == ("nftables: out of patience", False)
    assert (policies, kept) == (0, 0), "status and plane still have the last good state"
    assert attempts < 12, "with a pause that grows, not in a loop"
    assert (enforced, now) == (1, 1)


def test_a_plane_that_does_not_hold_what_it_was_given_is_a_fault():
    async def piece(run: Run) -> str:
        run.plane.deaf = True
        run.plane.forget()
        run.plane.meddlings.put(Meddling("nft[7]", "1 x deleted table"))
        status = await run.until(lambda status: status["kernel"] is not None)
        return str(status["kernel"])

    assert "does not hold" in with_agent(piece, WORLD)


def test_a_bad_world_keeps_the_last_good_one_and_is_named():
    async def piece(run: Run) -> tuple[Any, ...]:
        attempts = run.plane.attempts
        run.write_text('{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolcy", "metadata": {"name": "x"}}')
        bad = await run.until(lambda status: status["source"] is not None)
        untouched = run.plane.attempts == attempts and held(run) == 1
        run.write(WORLD)
        good = await run.until(lambda status: status["source"] is None and status["policies"] == 0)
        return bad["source"], bad["healthy"], bad["policies"], untouched, good["policies"]

    source, healthy, policies, untouched, after = with_agent(piece, CLOSED)
    assert "world.json:1" in source
    assert "NetworkPolicy" in source, "it says what would be right"
    assert (healthy, policies, untouched, after) == (False, 1, True, 0)


def test_what_others_take_away_is_restored_and_status_names_who_did_it():
    async def piece(run: Run) -> tuple[Any, ...]:
        run.plane.forget()
        run.plane.meddlings.put(Meddling("nft[7]", "1 x deleted table"))
        status = await run.until(lambda status: status["repaired"] == 1)
        return status["repairs"][-1], held(run)

    repair, policies = with_agent(piece, CLOSED)
    assert (repair["what"], repair["by"], repair["how"]) == ("fake", "nft[7]", "1 x deleted table")
    assert policies == 1


def test_what_is_taken_away_while_it_is_read_back_is_restored_and_named_too():
    async def piece(run: Run) -> tuple[Any, ...]:
        run.plane.thief_at = run.plane.reads + 2  # the look before, then the comparison after
        run.plane.meddlings.put(Meddling("", "more events than the buffer holds"))
        status = await run.until(lambda status: status["repaired"] == 1)
        return status["repairs"][-1]["by"], status["kernel"], held(run)

    assert with_agent(piece, CLOSED) == ("nft[8]", None, 1)


def test_lost_events_mean_a_look_and_no_repair_when_nothing_is_wrong():
    async def piece(run: Run) -> tuple[int, int, int]:
        reads = run.plane.reads
        before = (await run.ask('{"op": "status"}'))["reconciles"]
        run.plane.meddlings.put(Meddling("", "more events than the buffer holds"))
        status = await run.until(lambda status: status["reconciles"] > before)
        return run.plane.reads - reads, status["repaired"], len(status["repairs"])

    reads, repaired, named = with_agent(piece, CLOSED)
    assert reads > 0
    assert (repaired, named) == (0, 0)


def test_what_nobody_reported_is_found_by_the_regular_look():
    async def piece(run: Run) -> tuple[Any, ...]:
        run.plane.forget()
        status = await run.until(lambda status: status["repaired"] == 1)
        return status["repairs"][-1]["by"], held(run)

    assert with_agent(piece, CLOSED, most=0.2) == ("unknown program", 1)


def dropped() -> bytes:
    """An IPv4 TCP SYN from outside to the pod."""
    ends = ip_address("203.0.113.9").packed + ip_address("10.44.1.1").packed
    return struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends + struct.pack("!HH", 4321, 80) + bytes(16)


def test_a_denial_is_published_with_names_and_the_reason():
    async def piece(run: Run) -> tuple[Any, ...]:
        run.plane.records.put(Denial(Way.INGRESS, reply=False, packet=dropped()))
        status = await run.until(lambda _: True)
        while not status["drops"]:
            status = await run.ask('{"op": "status"}')
        drop = await run.ask('{"op": "drops"}')
        return drop["from"], drop["to"], drop["dport"], drop["reason"]

    source, target, port, reason = with_agent(piece, CLOSED)
    assert (source, target, port) == ("203.0.113.9", "a/x", 80)
    assert "a/closed isolates a/x" in reason


def test_a_second_agent_on_the_same_socket_is_refused_by_a_clear_line():
    async def piece(run: Run) -> str:
        from vallum.agent.run import Agent  # noqa: PLC0415 - opens netlink sockets
        from vallum.model.errors import InputError  # noqa: PLC0415

        try:
            await Agent(run.settings).run()
        except InputError as error:
            answers = (await run.ask('{"op": "status"}'))["node"]
            return f"{error} | {answers}"
        return "it ran"

    said = with_agent(piece, WORLD)
    assert "sock: another agent answers here" in said
    assert said.endswith("| node1"), "and the first one still answers"


def test_a_socket_that_a_crash_left_is_taken_over():
    async def piece(run: Run) -> str:
        from vallum.agent.api import Api  # noqa: PLC0415

        stale = run.settings.socket.with_name("stale")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(stale))
        server = await Api(stale, dict, {}).serve()
        server.close()
        return oct(stale.stat().st_mode & 0o777)

    assert with_agent(piece, WORLD) == "0o660"


def test_an_unknown_request_is_answered_with_what_may_be_asked():
    async def piece(run: Run) -> list[str]:
        return [str((await run.ask(line)).get("error")) for line in ('{"op": "dance"}', "no json", "[]")]

    assert all('"op": "status"' in answer for answer in with_agent(piece, WORLD))


def test_when_it_stops_the_socket_goes_and_the_plane_keeps_enforcing():
    async def body() -> tuple[bool, bool, int]:
        async with running(CLOSED) as run:
            before = run.settings.socket.exists()
        return before, run.settings.socket.exists(), held(run)

    assert run_inside(lambda: asyncio.run(body())) == (True, False, 1)


def test_a_bug_in_a_callback_ends_the_agent_instead_of_spinning():
    async def piece(run: Run) -> str:
        run.plane.records.drain = broken  # type: ignore[method-assign]
        run.plane.records.put(Denial(Way.INGRESS, reply=False, packet=b""))
        try:
            async with asyncio.timeout(PATIENCE):
                await run.ended
        except ZeroDivisionError as error:
            return str(error)
        return "it went on"

    def broken() -> list[object]:
        raise ZeroDivisionError("a bug")

    assert with_agent(piece, WORLD) == "a bug"


def test_an_agent_that_is_wanted_before_it_has_a_world_goes_on_listening():
    async def body() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "world").mkdir()
            (folder / "world" / "broken.yaml").write_text("no: world")
            dataplane.PLANES["fake"] = ("fakeplane:FakePlane",)
            agent = Agent(Settings("node1", folder / "world", "fake", "none", folder / "sock"))
            task = asyncio.create_task(agent.run())
            while agent._status.source_fault is None:  # noqa: ASYNC110 - until it has read, and has no world
                await asyncio.sleep(0.001)
            agent._want()  # as a runtime does that has a pod to take down
            found = await asyncio.to_thread(ask, folder / "sock", {"op": "status"})
            agent._stop.set()
            await task
            return found

    def piece() -> dict[str, Any]:
        signal.alarm(20)  # a loop that spins never gets to a timeout of its own
        return asyncio.run(body())

    assert run_inside(piece)["revision"] is None


def test_a_stop_that_comes_in_one_moment_with_a_change_is_a_stop():
    async def piece(run: Run) -> bool:
        signal.alarm(20)  # an agent that does not stop would keep its TaskGroup for ever
        run.agent._want()
        run.agent._stop.set()
        await run.ended
        return True

    assert with_agent(piece, WORLD)
