"""What `judge` says of a stage on the same world with invented addresses: it must equal what was written by hand.

A Service is judged as the packets behind it: after DNAT, before SNAT. Ignores anything that only a kernel decides.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

from kube.scenarios.matrix import Cell, Matrix
from kube.scenarios.objects import Manifest, invented, world
from kube.scenarios.scenario import Stage, services
from vallum.analysis.probe import ECHO, SPORT
from vallum.model.address import Packed, parse
from vallum.model.errors import InputErrors
from vallum.model.objects import ICMP, ICMPV6, PROTOCOLS, PodId
from vallum.model.packet import Packet
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from vallum.policy.verdict import Verdict
from vallum.sources.manifest import read_manifest
from vallum.sources.world import assemble


def read(manifests: Iterable[Manifest]) -> Snapshot:
    """Their world, through the strict reader. Raises InputErrors."""
    body = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
    found = read_manifest("scenario.json", body)
    if found.errors:
        raise InputErrors(found.errors)
    return snapshot_of(assemble([found], "").objects)


class Judged:
    """A stage's world, asked cell by cell."""

    def __init__(self, stage: Stage) -> None:
        self._state = stage.state
        self._invented = invented(stage.state)
        self._addresses = {name: parse(text) for name, text in self._invented.items() if name.endswith((".ip", ".ip6"))}

    @cached_property
    def _judge(self) -> Judge:
        return Judge(compile_node(read(world(self._state, self._invented)), None))

    def answers(self, cells: Mapping[Cell, bool]) -> Matrix:
        """What may be, cell by cell."""
        return {cell: self._answer(cell) for cell in cells}

    def lie(self, source: str, claimed: str, target: str) -> Verdict:
        """A packet of one pod with the address of another."""
        return self._judge(self._packet(Cell(claimed, target, "UDP", 80, 4), source))

    def _answer(self, cell: Cell) -> bool:
        return all(self._legs(cell)) if ":" in cell.target else self._ask(cell).allow

    def _ask(self, cell: Cell) -> Verdict:
        return self._judge(self._packet(cell, cell.source))

    def _packet(self, cell: Cell, sender: str) -> Packet:
        """The packet of a cell, whoever really sends it."""
        protocol = PROTOCOLS.get(cell.protocol) or (ICMPV6 if cell.family == 6 else ICMP)
        pod = self._state.pods.get(sender, {"host": True})
        return Packet(
            self._address(cell.source, cell.family),
            self._address(cell.target, cell.family),
            protocol,
            cell.port,
            SPORT if cell.port else 0,
            sender=None if pod.get("host") else PodId(*sender.split("/")),
            icmp_type=ECHO.get(protocol),
        )

    def _address(self, end: str, family: int) -> Packed:
        return self._addresses[f"{end}.ip{'6' if family == 6 else ''}"]

    def _legs(self, cell: Cell) -> Iterator[bool]:
        """Every place where the packet of a Service is judged.

        kube-proxy hides the source of a NodePort's packet behind the node that was called, unless it stays there.
        """
        entry, _, name = cell.target.partition(":")
        behind = services()[name].pod
        at_pod = cell._replace(target=behind, port=self._number(name, cell))
        verdict = self._ask(at_pod)
        if entry in ("svc", self._state.pods[behind]["node"]):
            yield verdict.allow
            return
        if not self._state.pods[cell.source].get("host"):
            yield verdict.egress.allow
        yield self._ask(at_pod._replace(source=entry)).allow

    def _number(self, name: str, cell: Cell) -> int:
        """The port behind a Service's, looked up by name where it has one."""
        target = services()[name].target(cell.protocol, cell.port)
        if isinstance(target, int):
            return target
        for container in self._state.pods[services()[name].pod]["containers"].values():
            for text in container["ports"]:
                own, number, protocol = text.replace("/", " ").split()
                if (own, protocol) == (target, cell.protocol):
                    return int(number)
        raise KeyError((name, target))
