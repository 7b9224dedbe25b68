"""The C client and server over loopback, in a private network namespace."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from vallum.kernel import sandbox
from vallum.kernel.compiled import COMPILERS, CURE
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.bench.build import load_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.load import Client, Server
from vallum.model.address import Address
from vallum.model.errors import InputError, KernelError
from vallum.model.wiring import Route

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason=f"the load tool needs a C compiler: {CURE}"
)
Private = Callable[[Callable[[], Any]], Any]
V4, V6 = ip_address("127.0.0.1"), ip_address("::1")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory):
    return load_tool(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def private():
    refusal = sandbox.probe()
    if refusal:
        pytest.skip(refusal)

    def run(work: Callable[[], Any]) -> Any:
        return json.loads(in_sandbox(lambda: json.dumps(work()), str, Path("/")))

    return run


def spawn(command: list[str]):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def served(tool: Path, address: Address, work: Callable[..., Any], port: int = 8080):
    server = Server(spawn, str(tool), [8080, 8081])
    client = Client(spawn, str(tool), address, port)
    try:
        return work(client)
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize("size", [0, 1, 512, 1 << 20, 3_000_000])
@pytest.mark.parametrize("address", [V4, V6])
def test_bodies_come_whole_and_stages_come_in_order(tool: Path, private: Private, address: Address, size: int):
    def work(client: Client) -> list[tuple[float, float, float, str]]:
        return [(s.connected, s.first, s.complete, s.reason) for s in client.run(5, size)]

    for connected, first, complete, reason in private(lambda: served(tool, address, work)):
        assert reason == "ok"
        assert 0 < connected < first <= complete


def test_one_server_listens_on_all_its_ports(tool: Path, private: Private):
    assert private(lambda: served(tool, V4, lambda client: client.attempt(5), port=8081)) == "ok"


def test_a_port_nobody_listens_on_gives_rows_with_the_reason(tool: Path, private: Private):
    assert (
        private(lambda: served(tool, V4, lambda client: [s.reason for s in client.run(3, 10)], port=9))
        == ["refused"] * 3
    )


def test_silence_is_told_from_an_answer(tool: Path, private: Private):
    def work() -> Any:
        # 192.0.2.1 lies behind a link on which nobody answers
        with Rtnetlink() as links:
            links.add_veth("here", "there", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1500)
            links.set_link("there", up=True)
            links.add_route(Route(ip_network("192.0.2.1/32"), device="here"))
            links.add_neighbour("here", ip_address("192.0.2.1"), "02:00:00:00:00:03")
        client = Client(spawn, str(tool), ip_address("192.0.2.1"), 80)
        return client.attempt(0.2)

    assert private(work) == "connect-timed-out"


def test_more_connections_than_there_are_ports_leave_no_socket_behind(tool: Path, private: Private):
    def work() -> Any:
        # few local ports, so that a socket left in TIME_WAIT would run them out at once
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40099")
        reasons = served(tool, V4, lambda client: {s.reason for s in client.run(1000, 512, workers=2)})
        return [sorted(reasons), Path("/proc/net/tcp").read_text().count("\n") - 1]

    assert private(work) == [["ok"], 0]


def test_several_workers_answer_every_request_that_was_asked_for(tool: Path, private: Private):
    reasons = private(lambda: served(tool, V6, lambda client: [s.reason for s in client.run(101, 512, workers=4)]))
    assert reasons == ["ok"] * 101


def test_pacing_spreads_the_requests(tool: Path, private: Private):
    def work() -> Any:
        server = Server(spawn, str(tool), [8080])
        command = [str(tool), "client", "--address", "::1", "--port", "8080", "--requests", "10", "--rate", "100"]
        before = time.monotonic_ns()
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        server.close()
        return [int(line.split("\t")[0]) - before for line in lines]

    starts = private(work)
    assert all(start >= number * 10_000_000 for number, start in enumerate(starts)), "none comes before its turn"


def test_one_request_tells_by_its_exit_status_whether_it_got_through(tool: Path, private: Private):
    def work() -> Any:
        server = Server(spawn, str(tool), [8080])
        tries = [
            subprocess.run([str(tool), "try", "--address", "::1", "--port", port], capture_output=True, check=False)
            for port in ("8080", "8082")
        ]
        server.close()
        return [(one.returncode, one.stdout.decode()) for one in tries]

    assert private(work) == [[0, "through\n"], [1, "refused\n"]]


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["client"], ["client", "--address", "nobody", "--port", "1"], ["try", "--size", "x"]]
)
def test_wrong_arguments_end_with_status_2_and_a_reason(tool: Path, arguments: list[str]):
    done = subprocess.run([str(tool), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("load: ")


def test_a_client_that_died_is_an_error_and_not_a_hang(tool: Path):
    client = Client(spawn, str(tool), V4, 8080)
    client.close()
    with pytest.raises((KernelError, ValueError)):
        client.attempt(1)


def test_the_tool_is_compiled_once(tool: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vallum.kernel.compiled.compile_to", lambda *_: pytest.fail("compiled again"))
    assert load_tool(tool.parents[1]) == tool
    assert [path.name for path in tool.parent.iterdir()] == ["load"]


def test_without_a_compiler_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="apt-get install gcc libc6-dev"):
        load_tool(tmp_path)


def test_a_compiler_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'load.c:1: error: no such header' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(KernelError, match="no such header"):
        load_tool(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*"))


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [InputError("here", "is wrong"), KernelError("the kernel refused")])
def test_an_error_inside_the_sandbox_arrives_outside_as_the_same(private: Private, error: Exception):
    with pytest.raises(type(error), match=str(error)):
        private(lambda: fail(error))


def test_a_measurement_that_dies_is_an_error_with_its_status(private: Private):
    with pytest.raises(KernelError, match="without a result, status 3"):
        private(lambda: sys.exit(3))
