"""Ends of a lab for tests that send by hand: a pod's place, sockets in it, raw packets from it, records of denials."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from vallum.kernel import netns
from vallum.lab.lab import Lab
from vallum.lab.senders import Flow
from vallum.lab.servers import raw_socket
from vallum.model.address import Address
from vallum.model.objects import PodId

End = tuple[str, Address]
"""A namespace and one of its addresses."""


def place(lab: Lab, name: str, version: int) -> tuple[str, Address]:
    """A pod's namespace and its address of this family."""
    plan = next(each for each in lab.topology.pods if each.pod == PodId("a", name))
    return plan.netns, next(each for each in plan.addresses if each.version == version)


@contextmanager
def listening(where: str, address: Address, number: int) -> Iterator[socket.socket]:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with netns.entered(where):
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with sock:
        sock.bind((str(address), number))
        yield sock


def send_raw(where: str, target: Address, packets: list[bytes]) -> None:
    with raw_socket(where, target.version, socket.IPPROTO_RAW, header=True) as out:
        for packet in packets:
            out.sendto(packet, (str(target), 0))


async def received(sock: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(sock, 65536)


async def denial(lab: Lab, flow: Flow) -> str:
    """Which node recorded a denial of this flow."""

    async def told_by(name: str) -> str:
        agent = lab.agents[name]
        async with agent.changed:
            await agent.changed.wait_for(lambda: agent.denied(flow) is not None)
        return name

    waits = [asyncio.ensure_future(told_by(name)) for name in lab.agents]
    done, pending = await asyncio.wait(waits, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return next(iter(done)).result() if done else "nobody"


def exchange(one: End, other: End, wait: float = 2.0) -> bool:
    """Reports whether a datagram and its answer pass between these two addresses."""
    kind = socket.AF_INET if other[1].version == 4 else socket.AF_INET6
    with netns.entered(other[0]):
        server = socket.socket(kind, socket.SOCK_DGRAM)
    with netns.entered(one[0]):
        client = socket.socket(kind, socket.SOCK_DGRAM)
    with server, client:
        for end, address in ((server, other[1]), (client, one[1])):
            end.settimeout(wait)
            end.bind((str(address), 0))
        try:
            client.sendto(b"question", (str(other[1]), server.getsockname()[1]))
            question, sender = server.recvfrom(64)
            server.sendto(b"answer", sender)
            return (question, sender[0], client.recv(64)) == (b"question", str(one[1]), b"answer")
        except OSError:
            return False
