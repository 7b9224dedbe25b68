"""Why: the verdict of one probe in words, side by side with the facts it rests on, and what a denial misses by."""

from dataclasses import dataclass
from typing import Any

from vallum.analysis.asked import Asked
from vallum.analysis.misses import Miss
from vallum.analysis.near import Nearest, Question, nearest, nearest_of, side_of
from vallum.analysis.probe import Probe
from vallum.analysis.steps import Step
from vallum.model.address import Packed, family, show
from vallum.model.objects import PROTOCOL_NAMES
from vallum.model.packet import Packet
from vallum.policy.ruleset import Way
from vallum.policy.verdict import Reason, Verdict, Why


@dataclass(frozen=True, slots=True)
class Explanation:
    """A question, its verdict, what a denial misses by, and lines of text for people."""

    question: str
    verdict: Verdict
    near: Nearest
    lines: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The same as plain data (docs/formats)."""
        told = {"question": self.question} | self.verdict.facts()
        for way in Way:
            miss = self.near.side(way)
            if miss is not None:
                told[str(way)]["why"]["near"] = miss_facts(miss)
        if not self.verdict.allow:
            told["proposal"] = [_step(step) for step in self.near.proposal]
        return told | {"text": list(self.lines)}


def explain(asked: Asked, probe: Probe) -> Explanation:
    """Raises InputError when the probe names nothing known."""
    asking = Question(asked, probe)
    verdict = asking.verdict()
    near = nearest(asking, verdict)
    question = f"{probe.source_end} -> {probe.target_end} {service(probe)}"
    lines = [f"{'ALLOWED' if verdict.allow else 'DENIED'}  {question}"]
    lines += _side("egress ", probe.source_end, verdict.egress, near.egress)
    lines += _side("ingress", probe.target_end, verdict.ingress, near.ingress)
    return Explanation(question, verdict, near, (*lines, *_proposal(verdict, near)))


def reason(asked: Asked, packet: Packet, way: Way, why: Why) -> str:
    """The reason of one side of a packet, with its nearest miss: what a record of a denial says."""
    if why.kind is not Reason.ISOLATED:
        return why.text
    source, target = (_end(asked, address) for address in (packet.source, packet.destination))
    version = family(packet.source) or family(packet.destination) or None
    probe = Probe(None, source, target, packet.protocol, packet.dport, packet.icmp_type, family=version)
    miss = nearest_of(Question(asked, probe), way, why)
    return f"{why.text}; {_nearest(miss)}" if miss else why.text


def service(probe: Probe) -> str:
    """`5432/TCP`, or the protocol alone where it has no ports."""
    name = PROTOCOL_NAMES.get(probe.protocol, str(probe.protocol))
    return f"{probe.port}/{name}" if probe.port else name


def miss_facts(miss: Miss) -> dict[str, Any]:
    """A nearest miss as plain data."""
    steps = [_step(step) for step in miss.steps]
    return {"policy": str(miss.rule.policy), "rule": miss.rule.index, "steps": steps}


def _end(asked: Asked, address: Packed) -> str:
    """As a question names it: by pod, so that a step can change the pod."""
    owner = asked.owner(address)
    return str(owner) if owner else show(address)


def _step(step: Step) -> dict[str, Any]:
    return step.facts() | {"text": str(step)}


def _side(way: str, end: str, why: Why, near: Miss | None) -> list[str]:
    line = f"  {way} of {end}: {'allow' if why.allow else 'DENY '}  {why.text}"
    return [line, f"      {_nearest(near)}"] if near else [line]


def _nearest(miss: Miss) -> str:
    return f"nearest: {miss.rule}, which lacks {_listed(miss.steps)}"


def _proposal(verdict: Verdict, near: Nearest) -> list[str]:
    if not any(side_of(verdict, way).kind is Reason.ISOLATED for way in Way):
        return []
    if not near.proposal:
        return ["  no change of labels, ports or addresses makes rules of these policies allow it"]
    if len(near.proposal) == 1:
        return [f"  it would pass with: {near.proposal[0]}"]
    return [f"  no single step would do; it would pass with all of: {_listed(near.proposal)}"]


def _listed(steps: tuple[Step, ...]) -> str:
    return "; ".join(map(str, steps))
