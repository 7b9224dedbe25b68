"""Signs of life and readiness: over HTTP, and to a service manager."""

import asyncio
import os
import socket
from pathlib import Path

import aiohttp
import pytest

from vallum.agent import health
from vallum.agent.notify import notify, watchdog


def asked(reason: str | None, *requests: tuple[str, str]) -> list[tuple[int, str]]:
    async def body() -> list[tuple[int, str]]:
        found = []
        async with await health.serve("127.0.0.1", 0, lambda: reason) as server, aiohttp.ClientSession() as session:
            place = server.sockets[0].getsockname()
            for method, path in requests or (("GET", "healthz"), ("GET", "readyz")):
                async with session.request(method, f"http://{place[0]}:{place[1]}/{path}") as answer:
                    found.append((answer.status, (await answer.text()).strip()))
        return found

    return asyncio.run(body())


def test_a_node_whose_kernel_holds_the_world_is_ready():
    assert asked(None) == [(200, "ok"), (200, "ok")]


def test_one_whose_kernel_does_not_lives_and_says_why_it_is_not_ready():
    assert asked("the kernel refuses: no memory") == [(200, "ok"), (503, "the kernel refuses: no memory")]


def test_a_question_may_carry_a_query_or_want_no_body():
    assert asked(None, ("GET", "readyz?verbose"), ("HEAD", "healthz")) == [(200, "ok"), (200, "")]


def test_what_is_not_served_is_refused_in_words():
    found = asked(None, ("GET", "metrics"), ("POST", "healthz"))
    assert found == [(404, "ask /healthz or /readyz"), (405, "GET only")]


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"GET /\r\n\r\n", b"\xff" * 20_000, b"GET /healthz HTTP/1.1\r\n"])
def test_what_is_no_request_leaves_the_others_served(sent: bytes):
    async def body() -> bytes:
        async with await health.serve("127.0.0.1", 0, lambda: None) as server:
            place = server.sockets[0].getsockname()[:2]
            _, broken = await asyncio.open_connection(*place)
            broken.write(sent)
            broken.write_eof()
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.read()
            for each in (broken, writer):
                each.close()
            return answer

    assert asyncio.run(body()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield sock


def test_a_service_manager_is_told(manager: socket.socket):
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch):
    name = f"vallum-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert sock.recv(100) == b"STOPPING=1"


def test_without_a_manager_or_with_a_dead_one_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


@pytest.mark.parametrize(
    ("asked", "pid", "period"),
    [("", None, None), ("2000000", None, 1.0), ("2000000", "1", None), ("0", None, None), ("soon", None, None)],
)
def test_signs_of_life_come_twice_in_the_time_that_the_manager_grants_to_this_process(
    monkeypatch: pytest.MonkeyPatch, asked: str, pid: str | None, period: float | None
):
    monkeypatch.setenv("WATCHDOG_USEC", asked)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog() == period
