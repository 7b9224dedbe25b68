"""The C stream tool over loopback, in a private network namespace."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from vallum.kernel import sandbox
from vallum.kernel.compiled import COMPILERS, CURE
from vallum.lab.bench.build import stream_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.stream import PORT, Stream
from vallum.model.errors import KernelError

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason=f"the stream tool needs a C compiler: {CURE}"
)


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory):
    return stream_tool(tmp_path_factory.mktemp("cache"))


def spawn(command: Sequence[str]):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def streamed(tool: Path, work: Callable[[Stream], Any], address: str = "127.0.0.1") -> Any:
    if refusal := sandbox.probe():
        pytest.skip(refusal)

    def inside() -> str:
        stream = Stream(spawn, spawn, str(tool), ip_address(address))
        try:
            return json.dumps(work(stream))
        finally:
            stream.close()

    return json.loads(in_sandbox(inside, str, Path("/")))


@pytest.mark.packets
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_arrives_in_the_window_is_counted_and_one_stream_follows_the_other(tool: Path, address: str):
    first, second = streamed(tool, lambda stream: [asdict(stream.run(0.01, 0.05)) for _ in range(2)], address)
    for flow in (first, second):
        assert flow["seconds"] >= 0.05
        assert flow["bytes"] > 0
        assert flow["segment"] > 1000
        assert flow["again"] >= 0


@pytest.mark.packets
def test_a_connection_that_brings_nothing_is_reached_and_leaves_the_next_stream_whole(tool: Path):
    def work(stream: Stream) -> tuple[bool, bool]:
        reached = stream.reaches(1)
        return reached, stream.run(0.01, 0.02).bytes > 0

    assert streamed(tool, work) == [True, True]


@pytest.mark.packets
def test_a_stream_that_cannot_begin_is_an_error_that_says_why(tool: Path):
    def work(stream: Stream) -> tuple[bool, str]:
        stream._server.kill()
        stream._server.wait()
        try:
            stream.run(0.01, 0.02)
        except KernelError as error:
            return stream.reaches(0.2), str(error)
        return True, "it ran"

    assert streamed(tool, work) == [False, "the stream broke: Connection refused"]


@pytest.mark.parametrize(
    "words",
    [[], ["server"], ["client", "--port", "9"], ["client", "--address", "here", "--port", "9"], ["server", "--x", "1"]],
)
def test_wrong_arguments_end_with_status_2_and_the_usage(tool: Path, words: list[str]):
    done = subprocess.run([str(tool), *words], capture_output=True, text=True, check=False, timeout=5)
    assert done.returncode == 2
    assert "usage: stream server" in done.stderr


def test_the_port_is_none_that_another_policy_of_the_bench_admits():
    assert PORT < 10_000
