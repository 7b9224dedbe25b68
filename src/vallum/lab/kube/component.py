"""One process of the cluster: how it is started, in which network namespace, and where its output goes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vallum.kernel import netns
from vallum.model.errors import KernelError

_POLL = 0.02
_LAST_LINES = 12


@dataclass(slots=True)
class Component:
    """A command that can be started and stopped again and again. Its output is appended to `log`."""

    name: str
    words: tuple[str, ...]
    log: Path
    namespace: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it where it is not running. It gets a session of its own, so no terminal's Ctrl-C reaches it."""
        if self.running:
            return
        with ExitStack() as stack:
            if self.namespace is not None:
                stack.enter_context(netns.entered(self.namespace))
            log = stack.enter_context(self.log.open("ab"))
            self._process = subprocess.Popen(
                self.words,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGTERM, within: float = 20.0) -> None:
        """Send a signal and wait for the end; after `within` seconds kill. What is not running is left alone."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it now, without its knowing."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id. Raises KernelError when it does not run."""
        if self._process is None or not self.running:
            raise KernelError(f"{self.name} is not running")
        return self._process.pid

    def said(self) -> str:
        """The last lines of its output."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_LAST_LINES:]) or "it said nothing"

    def await_(self, ready: Callable[[], bool], within: float) -> None:
        """Wait until it is ready. Raises KernelError with its last words when it ends before, or too late."""
        until(lambda: not self.running or ready(), within, lambda: f"{self.name} is not ready: {self.said()}")
        if not self.running:
            raise KernelError(f"{self.name} has ended: {self.said()}")


def until(condition: Callable[[], bool], within: float, otherwise: Callable[[], str]) -> None:
    """Wait for a condition. Raises KernelError with the words of `otherwise` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise KernelError(f"{otherwise()} (waited {within:.0f} s)")
        time.sleep(_POLL)
