"""Why: the verdict of one probe in words, side by side with the facts it rests on."""

from dataclasses import dataclass
from typing import Any

from vallum.analysis.probe import Probe
from vallum.analysis.verdicts import Verdicts
from vallum.model.objects import PROTOCOL_NAMES
from vallum.model.snapshot import Snapshot
from vallum.policy.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """A question, its verdict, and lines of text for people."""

    question: str
    verdict: Verdict
    lines: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"question": self.question} | self.verdict.facts()


def explain(snapshot: Snapshot, probe: Probe) -> Explanation:
    """Raises InputError when the probe names nothing known."""
    verdict = Verdicts(snapshot).verdict(probe)
    asked = f"{probe.source_end} -> {probe.target_end} {service(probe)}"
    word = "ALLOWED" if verdict.allow else "DENIED"
    sides = (("egress ", probe.source_end, verdict.egress), ("ingress", probe.target_end, verdict.ingress))
    lines = [f"{word}  {asked}"]
    lines += [f"  {way} of {end}: {'allow' if why.allow else 'DENY '}  {why.text}" for way, end, why in sides]
    return Explanation(asked, verdict, tuple(lines))


def service(probe: Probe) -> str:
    """`5432/TCP`, or the protocol alone where it has no ports."""
    name = PROTOCOL_NAMES.get(probe.protocol, str(probe.protocol))
    return f"{probe.port}/{name}" if probe.port else name
