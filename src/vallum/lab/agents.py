"""The lab's agents: one `vallum agent` process a node, started in that node's namespace, followed over its socket."""

import asyncio
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM
from typing import Any

import msgspec

from vallum.kernel import netns
from vallum.lab.senders import Flow
from vallum.lab.topology import NodePlan
from vallum.model.address import parse
from vallum.model.errors import KernelError

_LINE = 1 << 24
_REMEMBERED = 20_000


class AgentProcess:
    """One agent: its process, its latest status, and the denials it reported."""

    def __init__(self, node: NodePlan, folder: Path, options: tuple[str, ...]) -> None:
        self.node = node
        self.status: dict[str, Any] = {}
        self._denied: OrderedDict[Flow, dict[str, Any]] = OrderedDict()
        self.changed = asyncio.Condition()
        self._socket = folder / f"{node.name}.sock"
        self._log = folder / f"{node.name}.log"
        self._world = folder / "world"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id, as the lab's pid namespace counts."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and follow it."""
        self._socket.unlink(missing_ok=True)
        source = f"folder:{self._world}"
        words = ["agent", "--node", self.node.name, "--source", source, "--socket", str(self._socket), *self._options]
        # An agent's addresses come from its namespace: a child has the namespace of the thread that forks it.
        with netns.entered(self.node.netns), self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vallum", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    async def stop(self, number: int = SIGTERM) -> None:
        """Signal the process and wait until it has ended."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait)
        if self._following is not None:
            self._following.cancel()
        self._process, self.status = None, {}

    def log(self) -> str:
        """What the process wrote, the end of it."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    async def until(self, reached: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """Wait until the status satisfies. Raises KernelError with the agent's last words after `seconds`."""
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(lambda: self._ended() or (bool(self.status) and reached(self.status)))
        except TimeoutError:
            raise KernelError(f"agent of {self.node.name} did not get there in {seconds} s: {self._said()}") from None
        if self._ended():
            raise KernelError(f"agent of {self.node.name} has ended: {self.log().strip() or 'it said nothing'}")
        return self.status

    async def ask(self, op: str = "status") -> dict[str, Any]:
        """The agent's status as it is now, or what else can be asked for; empty when it does not answer."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LINE)
        except OSError:
            return {}
        writer.write(msgspec.json.encode({"op": op}) + b"\n")
        line = await reader.readline()
        writer.close()
        return msgspec.json.decode(line) if line else {}

    def denied(self, flow: Flow) -> dict[str, Any] | None:
        """The record of a denial of this flow, either way round."""
        return self._denied.get(flow) or self._denied.get(flow.mirrored())

    def forget(self, flow: Flow) -> None:
        """Drop older records of the same flow, so that `denied` speaks of the next packet."""
        self._denied.pop(flow, None)
        self._denied.pop(flow.mirrored(), None)

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _said(self) -> str:
        known = {key: self.status.get(key) for key in ("revision", "pods", "source", "kernel", "problems")}
        return f"{known} {self.log().strip()}"

    async def _follow(self) -> None:
        while not self._ended():
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LINE)
            except OSError:
                await asyncio.sleep(0.01)  # the socket appears when the agent listens; there is no event before
                continue
            writer.write(b'{"op": "follow"}\n')
            while line := await reader.readline():
                await self._take(msgspec.json.decode(line))
            writer.close()
        async with self.changed:
            self.changed.notify_all()

    async def _take(self, event: dict[str, Any]) -> None:
        async with self.changed:
            if event.pop("event", None) == "drop":
                self._denied[_flow(event)] = event
                if len(self._denied) > _REMEMBERED:
                    self._denied.popitem(last=False)
            else:
                self.status = event
            self.changed.notify_all()


def _flow(drop: dict[str, Any]) -> Flow:
    ends = parse(drop["source"]), parse(drop["destination"])
    return Flow(*ends, drop["protocol"], drop["sport"], drop["dport"], drop["icmp_id"])
