"""The load tool's two processes, as the bench speaks to them: a server, and a client that takes commands.

The client stays alive and answers `run` and `try` on its pipes, so that a round costs no process start. Where
they run is the caller's business: `spawn` starts a command inside the right pod. Ignores: what the times mean.
"""

from collections.abc import Callable, Sequence
from subprocess import Popen
from typing import IO

from vallum.lab.bench.seats import OK, Sample
from vallum.model.address import Address
from vallum.model.errors import KernelError

Spawn = Callable[[Sequence[str]], Popen[str]]
"""Starts a command with stdin and stdout as text pipes."""


class Server:
    """A listening server; ready when the constructor returns."""

    def __init__(self, spawn: Spawn, tool: str, ports: Sequence[int], cpu: int | None = None) -> None:
        listed = ",".join(str(port) for port in ports)
        self._process = spawn([tool, "server", "--port", listed, *pinned(cpu)])
        if line(self._process) != "ready":
            raise KernelError("the load server did not start")

    def close(self) -> None:
        """End the process and wait for it."""
        end(self._process)


class Client:
    """A client for one address and port."""

    def __init__(self, spawn: Spawn, tool: str, address: Address, port: int, cpu: int | None = None) -> None:
        target = ["--address", str(address), "--port", str(port)]
        self._process = spawn([tool, "client", *target, "--stdin", *pinned(cpu)])

    def run(self, requests: int, size: int, workers: int = 1, rate: int = 0) -> list[Sample]:
        """Requests in a closed loop; `rate` a second over all workers, 0 = as fast as they end."""
        say(self._process, f"run {requests} {size} {workers} {rate}")
        samples = [_sample(line(self._process)) for _ in range(requests)]
        if line(self._process) != "end":
            raise KernelError("the load client lost count")
        return samples

    def attempt(self, timeout: float) -> str:
        """One small request: `OK`, or why it did not get through within `timeout` seconds."""
        say(self._process, f"try {round(timeout * 1000)}")
        answer = line(self._process)
        return OK if answer == "through" else answer

    def close(self) -> None:
        """End the process and wait for it."""
        end(self._process)


def say(process: Popen[str], command: str) -> None:
    """Give a tool a command. Raises KernelError when it has ended."""
    pipe = _open(process.stdin)
    try:
        pipe.write(command + "\n")
        pipe.flush()
    except BrokenPipeError as error:
        raise KernelError(f"the load tool ended with status {process.wait()}") from error


def pinned(cpu: int | None) -> list[str]:
    """The words that keep a tool on one CPU."""
    return [] if cpu is None else ["--cpu", str(cpu)]


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise TypeError("spawn must give pipes")
    return pipe


def line(process: Popen[str]) -> str:
    """What a tool says next. Raises KernelError when it has ended."""
    said = _open(process.stdout).readline()
    if not said:
        raise KernelError(f"the load tool ended with status {process.wait()}")
    return said.rstrip("\n")


def _sample(told: str) -> Sample:
    """Absolute nanoseconds of start, connected, first byte and completion, then the reason."""
    start, connected, first, complete, reason = told.split("\t")
    stages = [max(0, int(stamp) - int(start)) / 1000 if int(stamp) else 0.0 for stamp in (connected, first, complete)]
    return Sample(stages[0], stages[1], stages[2], reason)


def end(process: Popen[str]) -> None:
    """End a tool and wait for it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
