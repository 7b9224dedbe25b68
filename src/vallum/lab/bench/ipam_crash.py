"""A process that allocates and frees under load is killed at random instants, again and again, on one ledger.

Each answer is written to a pipe behind the ledger's back, so that what was acknowledged is known whatever the ledger
says. After each kill it is opened as it is, by nobody's hand, and must hold all of that. The test of the ledger and
`bench ipam` share this. What it ignores: power cuts, which a process cannot stage; the ledger asks for full sync.
"""

import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vallum.ipam import ExhaustedError, Request
from vallum.ipam.ledger import Ledger
from vallum.ipam.pools import Pools
from vallum.ipam.verify import Finding, verify
from vallum.model.address import show
from vallum.model.errors import InputError, KernelError
from vallum.model.objects import PodId

HOST = "h"
_TURNS = 10_000
_LONGEST = 0.004  # seconds between the last answer that was waited for and the kill: a few commits


@dataclass(slots=True)
class Crashed:
    """What came of it.

    Attributes:
        kills: how often it was killed.
        answers: what was acknowledged: allocations and frees.
        twice: addresses that were given while somebody had them.
        lost: acknowledged, and not in the ledger afterwards.
        strangers: held by somebody whom nobody answered, beyond the one that was under way.
        refused: ledgers that did not open by themselves, with why.
        findings: of `verify`.
    """

    kills: int = 0
    answers: int = 0
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def crash(path: Path, kills: int, seed: int) -> Crashed:
    """Kill so often. The ledger is there, and the host has joined."""
    rng, found = random.Random(seed), Crashed()
    known = _open(path, found) or {}
    for _ in range(kills):
        said = _killed(path, rng.randrange(2**32), rng.randrange(1, 6), rng.uniform(0, _LONGEST))
        found.kills += 1
        maybe = _hear(said, known, found)
        holding = _open(path, found)
        if holding is None:
            break
        _compare(known, maybe, holding, found)
        known = holding
    return found


def take(pools: Pools, owner: str) -> str:
    """The address that an owner gets. Raises ExhaustedError."""
    return ",".join(str(each) for each in pools.allocate(Request(owner, PodId("shop", owner))).addresses)


def _load(path: Path, acknowledge: int, seed: int) -> None:
    """Allocate and free at random, and write each answer down after it was given."""
    rng = random.Random(seed)
    store = Ledger(path)
    pools = Pools(store, HOST)
    mine = {owner for _, owner, _ in store.state().holding()}
    for turn in range(_TURNS):
        if mine and rng.random() < 0.45:
            owner = rng.choice(sorted(mine))
            os.write(acknowledge, f"? {owner}\n".encode())  # from here on it may be free or not
            pools.free(owner)
            mine.remove(owner)
            os.write(acknowledge, f"- {owner}\n".encode())
            continue
        owner = f"{seed}-{turn}"
        try:
            address = take(pools, owner)
        except ExhaustedError:
            continue
        mine.add(owner)
        os.write(acknowledge, f"+ {owner} {address}\n".encode())


def _killed(path: Path, seed: int, lines: int, after: float) -> list[str]:
    """What a process under load acknowledged until it was killed, `after` seconds behind its first `lines`."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            _load(path, write, seed)
        finally:
            os._exit(3)
    os.close(write)
    said = b""
    while said.count(b"\n") < lines and (more := os.read(read, 4096)):
        said += more
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    while more := os.read(read, 65536):
        said += more
    os.close(read)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise KernelError(f"the process under load ended by itself (status {status}) after {said[-200:]!r}")
    return said.decode().splitlines()


def _hear(said: list[str], known: dict[str, str], found: Crashed) -> set[str]:
    """Bring what is known up to date; the owners whose free was asked for and not answered."""
    maybe: set[str] = set()
    for line in said:
        act, owner, *address = line.split()
        if act == "?":
            maybe.add(owner)
            continue
        found.answers += 1
        if act == "+":
            found.twice += [f"{address[0]} to {owner}"] * (address[0] in _held(known, maybe).values())
            known[owner] = address[0]
        else:
            known.pop(owner)
            maybe.discard(owner)
    return maybe


def _open(path: Path, found: Crashed) -> dict[str, str] | None:
    """Who holds what according to the ledger; None where it does not open."""
    try:
        store = Ledger(path, create=False)
    except (InputError, KernelError) as error:
        found.refused.append(str(error))
        return None
    state = store.state()
    store.close()
    found.findings += verify(state)
    return {owner: ",".join(map(show, held)) for _, owner, held in state.holding()}


def _compare(known: Mapping[str, str], maybe: set[str], holding: Mapping[str, str], found: Crashed) -> None:
    sure = _held(known, maybe)
    found.lost += [f"{owner} {address}" for owner, address in sure.items() if holding.get(owner) != address]
    found.strangers += sorted(holding.keys() - known.keys())[1:]  # one may have been decided and not yet said


def _held(known: Mapping[str, str], maybe: set[str]) -> dict[str, str]:
    return {owner: address for owner, address in known.items() if owner not in maybe}


@dataclass(slots=True)
class Crowd:
    """What several processes did to one ledger at once. `held`: owner -> address, as each was answered."""

    commits: int = 0
    seconds: float = 0.0
    held: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def work(path: Path, host: str, turns: int) -> tuple[dict[str, str], list[str]]:
    """One of them: allocates, and frees every third. What it holds in the end, and what was gone before it freed it."""
    store = Ledger(path)
    pools, mine, gone = Pools(store, host), dict[str, str](), list[str]()
    for turn in range(turns):
        owner = f"{host}-{turn}"
        mine[owner] = take(pools, owner)
        if turn % 3 == 2:
            oldest = next(iter(mine))
            held = ",".join(map(show, store.state().held(host, oldest)))
            gone += [f"{oldest} {mine[oldest]}"] * (held != mine[oldest])
            pools.free(oldest)
            del mine[oldest]
    store.close()
    return mine, gone


def counted(path: Path, answers: list[tuple[dict[str, str], list[str]]], turns: int, start: float) -> Crowd:
    """Compare what each process was answered with the ledger. `start`: on the clock of time.perf_counter."""
    found = Crowd(commits=len(answers) * (turns + turns // 3), seconds=time.perf_counter() - start)
    owners: dict[str, str] = {}
    for mine, gone in answers:
        found.lost += gone
        found.held |= mine
        found.twice += [f"{address} to {owner}" for owner, address in mine.items() if address in owners]
        owners |= {address: owner for owner, address in mine.items()}
    store = Ledger(path, create=False)
    state = store.state()
    store.close()
    holding = {owner: ",".join(map(show, held)) for _, owner, held in state.holding()}
    found.lost += [f"{owner} {address}" for owner, address in found.held.items() if holding.get(owner) != address]
    found.findings = verify(state)
    return found
