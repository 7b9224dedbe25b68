"""Real sockets of both protocols that connect: a policy for one client lets its handshake and data through, no other's.

TCP shows that the test works wherever it runs. SCTP needs a kernel that has it; where it has none, packets made by hand
say the same of it (`test_cases`, `test_random_worlds`).
"""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from build import pod, policy, port, rule, select, space
from ends import place
from labs import in_lab
from vallum.kernel import netns
from vallum.lab.lab import Lab
from vallum.model.objects import SCTP, TCP, Object, Peer

pytestmark = pytest.mark.packets

NUMBER = 6000
PODS: tuple[Object, ...] = (
    space("a"),
    pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", node="node1"),
    pod("a/client", "10.44.2.10", "fd44:0:0:2::10", app="client", node="node2"),
    pod("a/stranger", "10.44.2.20", "fd44:0:0:2::20", app="stranger", node="node2"),
)


def refusal(protocol: int) -> str | None:
    """Why this kernel makes no socket of a protocol, None where it does."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).close()
    except OSError as error:
        return f"this kernel has no sockets of protocol {protocol}: {error.strerror}"
    return None


def stream(where: str, version: int, protocol: int) -> socket.socket:
    """A stream socket in a namespace."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with netns.entered(where):
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, protocol)


async def said(lab: Lab, client: str, version: int, protocol: int) -> str:
    """What the server hears from this client."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        where, address = place(lab, "server", version)
        server = stack.enter_context(stream(where, version, protocol))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((str(address), NUMBER))
        server.listen()
        out = stack.enter_context(stream(place(lab, client, version)[0], version, protocol))
        try:
            async with asyncio.timeout(1.5):  # a denied handshake gets no answer, whatever the time
                await loop.sock_connect(out, (str(address), NUMBER))
        except TimeoutError:
            return "nothing"
        heard, _ = await loop.sock_accept(server)
        stack.enter_context(heard)
        await loop.sock_sendall(out, b"hello")
        return (await loop.sock_recv(heard, 100)).decode()


@pytest.mark.stance(9)
@pytest.mark.parametrize("protocol", [TCP, SCTP], ids=["TCP", "SCTP"])
def test_a_connection_passes_for_the_client_that_a_policy_names_and_for_no_other(protocol: int):
    if reason := refusal(protocol):
        pytest.skip(reason)
    admitted = rule(Peer(pods=select(app="client")), ports=[port(NUMBER, protocol=protocol)])
    guard = policy("a/guard", select(app="server"), [admitted])

    async def piece(lab: Lab) -> dict[str, list[str]]:
        return {
            name: [await said(lab, name, version, protocol) for version in (4, 6)] for name in ("client", "stranger")
        }

    assert in_lab(piece, (*PODS, guard)) == {"client": ["hello"] * 2, "stranger": ["nothing"] * 2}
