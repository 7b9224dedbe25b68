"""Policies hold on every road: cases and random worlds with packets over each back end that encapsulates, across nodes.

`test_cases` runs every case over host-gw. Over the others run the fewest cases that together show every form: of peers
and ports, direction, family, protocol, verdict across nodes and stance. VALLUM_ROADS=all runs all of them, four times
as long. No router of a lab carries packets from a node to another node's pods, so what passes went by the back end.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from casefile import Case, cases
from conformance.test_random_worlds import buildable, objects, walk_worlds
from labs import in_lab
from vallum.analysis.probe import Probe
from vallum.lab.lab import Lab, LabSettings
from vallum.lab.topology import Topology, plan
from vallum.model.objects import Peer, Policy, PolicyPort

ROADS = {"vxlan": LabSettings(backend="vxlan"), "ipip": LabSettings(backend="ipip")}
ACROSS_SUBNETS = {
    "vxlan, always": LabSettings(backend="vxlan", subnets=2),
    "vxlan, outer IPv6, cross-subnet": LabSettings(
        3, backend="vxlan", subnets=2, agent=("--encapsulation", "cross-subnet", "--outer", "6")
    ),
}
IPV4_ALONE = ("ipip",)
WORLDS = 4
ALL = os.environ.get("VALLUM_ROADS") == "all"


def forms(case: Case) -> frozenset[object]:
    """What a case shows: the forms of its policies, its stances, and of its probes across nodes how they end."""
    found: set[object] = set(case.stances)
    for step in case.steps:
        topology = plan(step.objects, 2)
        for policy in (thing for thing in step.objects if isinstance(thing, Policy)):
            found |= set(_policy_forms(policy))
        for probe, allowed in step.probes:
            if is_across(topology, probe):
                found.add(("across", probe.family, probe.protocol, allowed))
    return frozenset(found)


def _policy_forms(policy: Policy) -> Iterator[tuple[object, ...]]:
    for direction, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
        if rules is not None and not rules:
            yield direction, "no rule"
        for rule in rules or ():
            yield (direction, "any peer") if rule.peers is None else (direction, len(rule.peers) > 1, "peers")
            yield from ((direction, _peer_form(peer)) for peer in rule.peers or ())
            yield from ((direction, _port_form(port)) for port in rule.ports or ())


def _peer_form(peer: Peer) -> str:
    if peer.block is not None:
        return "block with exceptions" if peer.block.excepts else "block"
    return f"pods {peer.pods is not None}, namespaces {peer.namespaces is not None}"


def _port_form(port: PolicyPort) -> str:
    kind = "any port" if port.port is None else "named" if isinstance(port.port, str) else "number"
    return f"{port.protocol} {'range' if port.end is not None else kind}"


def is_across(topology: Topology, probe: Probe) -> bool:
    """Reports whether its ends are pods on two nodes."""
    nodes = {str(each.pod): each.node for each in topology.placed}
    ends = [nodes.get(end) for end in (probe.source_end, probe.target_end)]
    return None not in ends and ends[0] != ends[1]


def fewest(of: tuple[Case, ...]) -> tuple[Case, ...]:
    """Cases that together show all that all of them show: each time the one that shows most that is new a probe."""
    shown = {case.name: forms(case) for case in of}
    missing = frozenset().union(*shown.values())
    chosen = []
    while missing:
        best = max(of, key=lambda case: (len(shown[case.name] & missing) / _probes(case), case.name))
        chosen.append(best)
        missing -= shown[best.name]
    return tuple(chosen)


def _probes(case: Case) -> int:
    return sum(len(step.probes) for step in case.steps)


CHOSEN = cases() if ALL else fewest(cases())


def test_the_chosen_cases_show_every_form_that_all_cases_show_and_are_fewer():
    everything = frozenset().union(*map(forms, cases()))
    assert frozenset().union(*map(forms, fewest(cases()))) == everything
    assert {("ingress", "block with exceptions"), ("egress", "6 named"), ("across", 6, 17, False)} <= everything
    assert len(fewest(cases())) < len(cases()) * 2 / 3


@pytest.mark.packets
@pytest.mark.parametrize("road", ROADS)
def test_packets_do_as_cases_of_every_form_say_by_each_road(road: str):
    async def piece(lab: Lab) -> list[Any]:
        wrong = []
        for case in CHOSEN:
            for step in case.steps:
                await lab.apply(step.objects)
                asked = [each for each in step.probes if carried(road, lab.topology, each[0])]
                outcomes = await lab.probe([probe for probe, _ in asked])
                for (probe, expected), outcome in zip(asked, outcomes, strict=True):
                    sent = getattr(outcome, "sent", str(outcome))
                    if sent != ("allow" if expected else "deny"):
                        wrong.append(
                            (case.name, step.does, dict(probe.extra)["line"], probe.family, sent, str(outcome))
                        )
        return wrong

    assert in_lab(piece, CHOSEN[0].objects, settings=ROADS[road]) == []


def carried(road: str, topology: Topology, probe: Probe) -> bool:
    """Reports whether this road carries this probe at all: ipip is for IPv4."""
    return not (road in IPV4_ALONE and probe.family == 6 and is_across(topology, probe))


@pytest.mark.packets
@pytest.mark.parametrize("road", ACROSS_SUBNETS)
def test_packets_agree_with_the_judge_and_the_text_across_subnets(road: str):
    found = {seed: manifests for seed in range(3 * WORLDS) if (manifests := buildable(seed))}
    chosen = dict(list(found.items())[: WORLDS * (10 if ALL else 1)])
    first = objects(next(iter(chosen.values())))
    wrong = in_lab(lambda lab: walk_worlds(lab, chosen), first, settings=ACROSS_SUBNETS[road])
    assert not wrong, "\n".join(wrong)
