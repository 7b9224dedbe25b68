"""The stream tool's two processes, as the bench speaks to them: who counts, and who sends when told.

Where they run is the caller's business: `spawn` starts a command inside the right namespace. What it ignores: what a
rate means.
"""

from dataclasses import dataclass

from vallum.lab.bench.load import Spawn, end, line, pinned, say
from vallum.model.address import Address
from vallum.model.errors import KernelError

PORT = 9000


@dataclass(frozen=True, slots=True)
class Flow:
    """One stream: bytes that arrived in so many seconds, segments sent again, payload of a segment in bytes.

    `busy`: seconds that all CPUs of the machine worked meanwhile.
    """

    bytes: int
    seconds: float
    busy: float
    again: int
    segment: int

    @property
    def rate(self) -> float:
        """Bits a second."""
        return 8 * self.bytes / self.seconds


class Stream:
    """A counting server and a client that sends to it, over whatever lies between. Closes both.

    Args:
        sender: starts a process where the stream begins.
        receiver: starts a process where it ends.
        tool: the program.
        address: of the receiver.
        cpu: that both run on; None: on any.
    """

    def __init__(self, sender: Spawn, receiver: Spawn, tool: str, address: Address, cpu: int | None = None) -> None:
        self._server = receiver([tool, "server", "--port", str(PORT), *pinned(cpu)])
        if line(self._server) != "ready":
            raise KernelError("the stream server did not start")
        target = ["--address", str(address), "--port", str(PORT)]
        self._client = sender([tool, "client", *target, *pinned(cpu)])

    def reaches(self, timeout: float) -> bool:
        """Reports whether a connection is made within `timeout` seconds."""
        say(self._client, f"try {round(timeout * 1000)}")
        through = line(self._client) == "through"
        if through:
            line(self._server)  # of the connection that brought nothing
        return through

    def run(self, warm: float, length: float) -> Flow:
        """Send for `warm + length` seconds, of which `length` count. Raises KernelError when the stream breaks."""
        say(self._client, f"run {round(warm * 1000)} {round(length * 1000)}")
        sent = line(self._client)
        if not sent[:1].isdigit():
            raise KernelError(f"the stream broke: {sent}")
        counted = line(self._server)
        if not counted[:1].isdigit():
            raise KernelError(f"the stream broke: {counted}")
        again, segment = map(int, sent.split())
        arrived, ns, busy = map(int, counted.split())
        return Flow(arrived, ns / 1e9, busy / 1000, again, segment)

    def close(self) -> None:
        """End both."""
        end(self._client)
        end(self._server)
