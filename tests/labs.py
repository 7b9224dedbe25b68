"""A lab for a test: run a coroutine beside real agents, pods and servers, in a private sandbox that leaves nothing."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from inside import run_inside
from vallum.ipam.topology import Layout
from vallum.kernel import netns
from vallum.kernel.nfnetlink import message, messages, open_socket
from vallum.lab.lab import Lab, LabSettings, started
from vallum.lab.probing import Outcome
from vallum.model.errors import InputError
from vallum.model.objects import Object

Result = TypeVar("Result")
_NFTABLES, _GETGEN, _GEN_ID = 10, 16, 1


def in_lab(
    piece: Callable[[Lab], Awaitable[Result]],
    objects: Iterable[Object],
    *,
    nodes: int | None = None,
    layout: Layout | None = None,
    settings: LabSettings | None = None,
) -> Result:
    """What `piece` returns, run with a lab of these objects; it must be plain data. `settings`: all of them."""
    told = settings or LabSettings(nodes, layout=layout)

    async def body() -> Result:
        async with started(told, tuple(objects)) as lab:
            return await piece(lab)

    return run_inside(lambda: asyncio.run(body()))


def nft(where: str, *words: str, script: str | None = None) -> str:
    """What the nft program prints in this namespace."""
    with netns.entered(where):
        return nft_here(*words, script=script)


def nft_here(*words: str, script: str | None = None) -> str:
    """What the nft program prints where the caller is; with a `script` it reads that."""
    words = (*words, "-f", "-") if script is not None else words
    found = subprocess.run(["nft", *words], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, f"nft {words} returned {found.returncode}: {found.stderr}"
    return found.stdout


def transactions() -> int:
    """How many nftables transactions this network namespace has seen (the kernel's ruleset generation)."""
    with open_socket() as sock:
        sock.settimeout(5)
        sock.send(message(_NFTABLES, _GETGEN, 1, 0, b""))
        answer = next(messages(sock.recv(4096)))
    return int.from_bytes(answer.attributes[_GEN_ID], "big")


def transactions_of(lab: Lab) -> dict[str, int]:
    """`transactions` of every node."""
    found = {}
    for node in lab.topology.nodes:
        with netns.entered(node.netns):
            found[node.name] = transactions()
    return found


def told(outcomes: Iterable[Outcome | InputError]) -> list[str]:
    """The outcomes in which packets and judge differ, in words; empty when all agree."""
    found = []
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            found.append(f"not asked: {outcome}")
        elif not outcome.fits:
            expected = "allow" if outcome.expected.allow else "deny"
            found.append(f"{outcome.probe}: {outcome.sent}, expected {expected} ({outcome.proof})")
    return found
