"""Probes sent for real: what the packets did, beside what the judge expected.

allow: the server got the packet and the client got the answer. deny: the plane's own record of that very packet, or for
a foreign IPv4 source the node's reverse path counter. Neither within the patience is no verdict but an error.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vallum.analysis.probe import End, Probe
from vallum.analysis.verdicts import Verdicts
from vallum.kernel import netns
from vallum.lab.agents import AgentProcess
from vallum.lab.senders import Flow, Sending, Shot
from vallum.lab.servers import Servers
from vallum.lab.topology import Topology
from vallum.model.address import Address, Packed, unpack
from vallum.model.errors import InputError
from vallum.model.packet import PORTED, Packet
from vallum.policy.verdict import Verdict

PATIENCE = 5.0
"""Seconds for an expected allow."""
_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one probe. `sent`: allow, deny, or lost (neither answer nor record). `proof`: how it is known."""

    probe: Probe
    sent: str
    expected: Verdict
    proof: str

    @property
    def fits(self) -> bool:
        """Reports whether packets and judge agree."""
        return self.sent == ("allow" if self.expected.allow else "deny")

    def facts(self) -> dict[str, Any]:
        """The published answer of `lab probe`."""
        kept = {"id": self.probe.id} if self.probe.id is not None else {}
        judged = self.expected.facts()
        told = {"verdict": self.sent, "expected": judged["verdict"], "proof": self.proof}
        return kept | dict(self.probe.extra) | told | {"ingress": judged["ingress"], "egress": judged["egress"]}


class Prober:
    """Sends probes through one standing topology."""

    def __init__(self, servers: Servers, agents: Iterable[AgentProcess]) -> None:
        self._servers = servers
        self._agents = tuple(agents)
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def send(self, topology: Topology, verdicts: Verdicts, probes: list[Probe]) -> list[Outcome | InputError]:
        """All probes, many at once, answered in their order; ICMP errors after the flows that they speak of."""
        round_ = _Round(topology, verdicts)
        found: dict[int, Outcome | InputError] = {}
        for late in (False, True):
            chosen = [(index, probe) for index, probe in enumerate(probes) if (probe.of is not None) == late]
            answers = await asyncio.gather(*(self._one(round_, probe) for _, probe in chosen))
            found |= {index: answer for (index, _), answer in zip(chosen, answers, strict=True)}
        return [found[index] for index in range(len(probes))]

    async def _one(self, round_: "_Round", probe: Probe) -> Outcome | InputError:
        try:
            shot, expected = round_.aim(probe)
            async with self._slots:
                if shot.protocol in PORTED:
                    self._servers.ensure(shot.target_namespace, shot.protocol, shot.port)
                sent, proof, flow = await self._observe(round_, shot)
        except InputError as error:
            return error
        if flow is not None:
            round_.flows[str(probe.id)] = (flow, sent == "allow")
        return Outcome(probe, sent, expected, proof)

    async def _observe(self, round_: "_Round", shot: Shot) -> tuple[str, str, Flow | None]:
        """Until the answer or the record of a denial comes; a refused connection is neither and is told."""
        try:
            sending = Sending(shot, next(self._numbers))
        except OSError as error:
            return "lost", f"could not be sent: {error.strerror}", None
        strays = shot.written is not None and shot.written.version == 4
        async with round_.straying if strays else contextlib.nullcontext():
            with sending:
                for agent in self._agents:
                    agent.forget(sending.flow)
                denials = [self._denial(sending)] + (
                    [_strayed(round_.topology, _strays(round_.topology))] if strays else []
                )
                waits = [asyncio.ensure_future(wait) for wait in (sending.answered(), *denials)]
                done, pending = await asyncio.wait(waits, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
        return (*_told(waits[0], waits[1:], done), sending.flow)

    async def _denial(self, sending: Sending) -> str:
        waits = [asyncio.ensure_future(_denied(agent, sending)) for agent in self._agents]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in waits:
                task.cancel()


class _Round:
    """One call of `send`: the world it asks about, and the flows that its probes have made so far, by id."""

    def __init__(self, topology: Topology, verdicts: Verdicts) -> None:
        self.topology = topology
        self.flows: dict[str, tuple[Flow, bool]] = {}
        self.straying = asyncio.Lock()  # the reverse path counter cannot tell two packets apart
        self._verdicts = verdicts

    def aim(self, probe: Probe) -> tuple[Shot, Verdict]:
        """What to send and what to expect. Raises InputError for ends or a flow that are not there."""
        flow, known = self.flows.get(str(probe.of), (None, False))
        if probe.of is not None and flow is None:
            raise InputError("", f'"of" names the probe {probe.of!r}, which made no flow')
        packet = self._verdicts.ends.packet(probe, known_flow=known)
        shot = _shot(self.topology, self._verdicts, probe, packet)
        if flow is not None:
            shot = replace(shot, about=flow if packet.destination == flow.source else flow.mirrored())
        return shot, self._verdicts.verdict(probe, known_flow=known)


def _told(
    answer: "asyncio.Future[Any]", denials: "Sequence[asyncio.Future[Any]]", done: Container[object]
) -> tuple[str, str]:
    if answer in done and answer.exception() is None:
        return "allow", "answered"
    for denial in denials:
        if denial in done:
            return "deny", str(denial.result())
    if answer in done:
        return "lost", f"the packet was answered with an error: {answer.exception()}"
    return "lost", f"neither an answer nor a record of a denial within {PATIENCE:g} s"


async def _denied(agent: AgentProcess, sending: Sending) -> str:
    async with agent.changed:
        await agent.changed.wait_for(lambda: agent.denied(sending.flow) is not None)
    drop = agent.denied(sending.flow)
    assert drop is not None
    return f"dropped on {agent.node.name} ({drop['way']}): {drop['reason']}"


def _shot(topology: Topology, verdicts: Verdicts, probe: Probe, packet: Packet) -> Shot:
    source, target = verdicts.ends.end(probe.source_end), verdicts.ends.end(probe.target_end)
    mine = unpack(packet.source) if probe.written is None else _own(source, unpack(packet.destination))
    return Shot(
        _namespace(topology, source),
        mine,
        unpack(packet.destination),
        _namespace(topology, target),
        packet.protocol,
        packet.dport,
        packet.icmp_type,
        probe.icmp_code,
        probe.written,
    )


def _own(end: End, like: Address) -> Address:
    return next(address for address in map(unpack, end.addresses) if address.version == like.version)


def _namespace(topology: Topology, end: End) -> str:
    """Where an end lives: a pod, a node, or the router for every address that no pod has."""
    if end.pod is not None:
        return topology.namespace_of(end.pod)
    for node in topology.nodes:
        if _among(end.addresses, (each.ip for each in node.addresses)):
            return node.netns
    held = (*topology.router.outside, *(each.ip for each in topology.router.addresses))
    if _among(end.addresses, held):
        return topology.router.netns
    raise InputError("", f"{end.text} is no address that the lab holds")


def _among(addresses: tuple[Packed, ...], others: Iterable[Address]) -> bool:
    return not {unpack(address) for address in addresses}.isdisjoint(others)


async def _strayed(topology: Topology, before: int) -> str:
    """Until a node counts a packet whose source its reverse path filter did not believe; it keeps no record."""
    while _strays(topology) <= before:  # noqa: ASYNC110 - a counter of the kernel has no event
        await asyncio.sleep(0.005)
    return "dropped by the node's reverse path filter"


def _strays(topology: Topology) -> int:
    """IPReversePathFilter of all nodes together."""
    total = 0
    for node in topology.nodes:
        with netns.entered(node.netns):
            lines = Path("/proc/thread-self/net/netstat").read_text(encoding="utf-8").splitlines()
        names, values = (line.split() for line in lines[:2])
        total += int(values[names.index("IPReversePathFilter")])
    return total


def outside_of(probes: Iterable[Probe]) -> list[str]:
    """Ends of probes that are written as addresses."""
    return sorted({end for probe in probes for end in (probe.source_end, probe.target_end) if "/" not in end})
