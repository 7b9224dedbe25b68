"""The shop of examples/: who reaches whom, written by hand, answered by the judge and by packets."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from build import walk
from labs import in_lab, told
from vallum.analysis.probe import Probe, parse
from vallum.analysis.verdicts import Verdicts
from vallum.lab import topology
from vallum.lab.lab import Lab
from vallum.model.objects import PROTOCOL_NAMES, Object, Pod
from vallum.model.snapshot import snapshot_of
from vallum.sources.folder import read_world, snapshot

SHOP = Path(__file__).parents[2] / "examples" / "shop"

WEB, API, WORKER = "shop/web", "shop/api", "shop/worker"
DB, CACHE, METRICS = "data/db", "data/cache", "monitoring/metrics"
OUTSIDER, DNS, EXPORTER = "guest/outsider", "kube-system/dns", "monitoring/node-exporter"
PODS = (WEB, API, WORKER, DB, CACHE, METRICS, OUTSIDER, DNS, EXPORTER)
CUSTOMER, BLOCKED, CUSTOMER6 = "203.0.113.9", "203.0.113.70", "2001:db8:5::9"
BANK, BANK6, BESIDE = "198.51.100.4", "2001:db8:ba::4", "198.51.100.20"

OPEN = {METRICS, OUTSIDER, DNS}
"""Pods that nothing isolates."""

ALLOWED: dict[tuple[str, str], set[tuple[str, int]]] = {
    **{(client, WEB): {("TCP", 8080)} for client in (OUTSIDER, DNS, CUSTOMER, CUSTOMER6)},
    (METRICS, WEB): {("TCP", 8080), *(("TCP", number) for number in range(9100, 9111))},
    **{(METRICS, pod): {("TCP", number) for number in range(9100, 9111)} for pod in (API, WORKER)},
    (WEB, API): {("TCP", 8000)},
    (API, DB): {("TCP", 5432)},
    (API, CACHE): {("TCP", 6379)},
    (WORKER, CACHE): {("TCP", 6379)},
    **{(pod, DNS): {("UDP", 53), ("TCP", 53)} for pod in (WEB, API, WORKER)},
    (API, BANK): {("TCP", 443)},
    (API, BANK6): {("TCP", 443)},
}
"""Between ends of which one is isolated: exactly this. The rest is shut."""

ON_NODE1 = {WEB, DB, DNS, WORKER}
"""The worker states no node and the lab puts it there. node-exporter has the address of node1, which reaches its own
pods whatever protects them.
"""


def expected(source: str, target: str, protocol: str, port: int) -> bool:
    """The table, read."""
    if source == EXPORTER:
        return target in OPEN | ON_NODE1
    outside = {CUSTOMER, BLOCKED, CUSTOMER6, BANK, BANK6, BESIDE, EXPORTER}
    if source in OPEN | outside and target in OPEN | outside:
        return True
    return (protocol, port) in ALLOWED.get((source, target), set())


def shop() -> tuple[Object, ...]:
    return walk(snapshot(read_world(SHOP)))


def services() -> list[tuple[str, int]]:
    """Every port that a pod of the shop offers, over TCP and UDP, a neighbour of each range's ends, and ICMP."""
    numbers = {port.number for thing in shop() if isinstance(thing, Pod) for port in thing.ports}
    numbers |= {80, 443, 8080, 9099, 9100, 9105, 9110, 9111}
    return [*product(("TCP", "UDP"), sorted(numbers)), ("ICMP", 0)]


def probes() -> list[Probe]:
    """All pairs x ports x protocols x families, and the ends outside."""
    pairs = [(*pair, family) for pair in permutations(PODS, 2) for family in (4, 6)]
    pairs += [(end, WEB, 6 if ":" in end else 4) for end in (CUSTOMER, BLOCKED, CUSTOMER6)]
    pairs += [(pod, end, 6 if ":" in end else 4) for pod in (API, WORKER) for end in (BANK, BANK6, BESIDE)]
    return [
        parse({"from": source, "to": target, "family": family, "protocol": protocol} | ({"port": port} if port else {}))
        for source, target, family in pairs
        for protocol, port in services()
    ]


def by_hand(probe: Probe) -> bool:
    return expected(probe.source_end, probe.target_end, PROTOCOL_NAMES[probe.protocol].replace("v6", ""), probe.port)


def test_the_table_names_every_pod_of_the_shop():
    live = {str(thing.id) for thing in shop() if isinstance(thing, Pod) and not thing.finished}
    assert live == set(PODS)


def test_the_judge_says_what_the_table_says():
    objects = shop()
    verdicts = Verdicts(snapshot_of(tuple(topology.complete(objects, topology.plan(objects, 2)))))
    wrong = [probe for probe in probes() if verdicts.verdict(probe).allow != by_hand(probe)]
    assert wrong == []


@pytest.mark.packets
def test_packets_do_what_the_table_says():
    asked = probes()

    async def piece(lab: Lab) -> list[Any]:
        outcomes = await lab.probe(asked)
        told_wrong = told(outcomes)
        hand = [
            (probe, getattr(outcome, "sent", str(outcome)))
            for probe, outcome in zip(asked, outcomes, strict=True)
            if getattr(outcome, "sent", "") != ("allow" if by_hand(probe) else "deny")
        ]
        return [*told_wrong[:10], *map(str, hand[:10])]

    assert in_lab(piece, shop()) == []
