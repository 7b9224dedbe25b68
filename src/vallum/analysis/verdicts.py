"""Many probes against one world: the lines that `vallum judge` answers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vallum.analysis.probe import Ends, Probe, parse
from vallum.model.errors import InputError
from vallum.model.snapshot import Snapshot
from vallum.policy.compile import compile_node
from vallum.policy.judge import Judge
from vallum.policy.verdict import Verdict


class Verdicts:
    """Answers probes about one world, every pod taken as local."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.ends = Ends(snapshot)
        self._judge = Judge(compile_node(snapshot, None))

    def verdict(self, probe: Probe, *, known_flow: bool = False) -> Verdict:
        """Raises InputError when the probe names nothing known."""
        return self._judge(self.ends.packet(probe, known_flow=known_flow))

    def answers(self, lines: Iterable[Mapping[str, Any] | InputError]) -> Iterator[dict[str, Any]]:
        """One answer a line, in order. An ICMP error's `of` may name a probe of an earlier line."""
        allowed: dict[Any, bool] = {}
        for line in lines:
            if isinstance(line, InputError):
                yield {"error": str(line)}
                continue
            answer = self._answer(line, allowed)
            if _hashable(line.get("id")):
                allowed[line.get("id")] = answer.get("verdict") == "allow"
            yield answer

    def _answer(self, line: Mapping[str, Any], allowed: Mapping[Any, bool]) -> dict[str, Any]:
        kept = {"id": line["id"]} if "id" in line else {}
        try:
            probe = parse(line)
            known = _hashable(probe.of) and allowed.get(probe.of, False)
            verdict = self.verdict(probe, known_flow=probe.of is not None and known)
        except InputError as error:
            return kept | {"error": str(error)}
        return kept | dict(probe.extra) | verdict.facts()


def _hashable(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))
