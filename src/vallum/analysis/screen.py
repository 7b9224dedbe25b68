"""The verdict on a packet among few pods, read straight off their policies: what `near` asks before the compiler.

A rule that misses a packet by nothing admits it. That needs no sets, no kinds and no bitmaps, so it costs less than
compiling, and it must say what the compiler and the judge say (tested). Ignores the words and which rule it was.
"""

from collections.abc import Mapping

from vallum.analysis.misses import Facts, Gap, rules_of
from vallum.analysis.probe import End, Owner
from vallum.model.address import Packed
from vallum.model.objects import PodId, Policy, PolicyId
from vallum.model.packet import Packet
from vallum.model.selector import Labels
from vallum.model.snapshot import Snapshot
from vallum.model.spaces import Spaces
from vallum.policy.compile import host_of, living
from vallum.policy.judge import judge_flow
from vallum.policy.ruleset import OPEN, Local, Way
from vallum.policy.selectors import matches
from vallum.policy.verdict import Reason, Verdict, Why

Owners = Mapping[Packed, Local]


def owners_in(snapshot: Snapshot) -> Owners:
    """The pods of a small world by address. Their sides are left open: they are read when they are asked for."""
    found = [
        Local(pod.id, addresses, OPEN, OPEN, host_of(snapshot, pod.node) if pod.node else frozenset())
        for pod, addresses in living(snapshot, by_names=True)
    ]
    return {address: local for local in found for address in local.addresses}


class Screen:
    """The policies of a small world that does not change them. Which of them select a pod is found out once, and so is
    what they say of the same facts.
    """

    def __init__(self, policies: Spaces[PolicyId, Policy], owner: Owner) -> None:
        """`owner` knows the addresses of all pods."""
        self._policies = policies
        self._owner = owner
        self._known: dict[tuple[str, Labels], list[Policy]] = {}
        self._said: dict[Facts, Why] = {}

    def __call__(self, snapshot: Snapshot, owners: Owners, packet: Packet) -> Verdict:
        """Whether the packet passes, and which policies isolate each side."""

        def at(address: Packed) -> PodId | None:
            local = owners.get(address)
            return local.pod if local else None

        def side(local: Local, way: Way, remote: Packed, packet: Packet) -> Why:
            there = End("", at(remote), (remote,))
            gap = Gap(snapshot, packet, way, there, at(packet.destination), self._owner)
            namespace, carried = local.pod.namespace, snapshot.pods[local.pod].labels
            key = (namespace, carried, *gap.facts)
            found = self._said.get(key)
            if found is None:
                found = self._said[key] = _read(gap, self._selecting(namespace, carried))
            return found

        return judge_flow(owners, packet, side)

    def _selecting(self, namespace: str, carried: Labels) -> list[Policy]:
        """The policies that select pods with these labels, by name."""
        found = self._known.get((namespace, carried))
        if found is None:
            labels, here = dict(carried), sorted(self._policies.inside(namespace).items())
            found = self._known[namespace, carried] = [one for _, one in here if matches(one.pods, labels)]
        return found


def _read(gap: Gap, selecting: list[Policy]) -> Why:
    rules = [(policy.id, found) for policy in selecting if (found := rules_of(policy, gap.way)) is not None]
    if not rules:
        return Why(Reason.NOT_ISOLATED, "")
    fits = any(gap.admits(rule, id_.namespace) for id_, found in rules for rule in found)
    return Why(Reason.RULE if fits else Reason.ISOLATED, "", tuple(id_ for id_, _ in rules))
