"""A lab of three zones of two racks in the kernel: packets cross it, a policy holds, and routes stay few."""

from ipaddress import ip_network
from itertools import permutations
from pathlib import Path

import pytest

from build import pod, policy, port, rule, select, space
from centres import racks
from inside import run_inside
from labs import in_lab, told
from vallum.analysis.probe import parse
from vallum.ipam.ledger import Ledger
from vallum.kernel import netns
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.lab.addressing import ByGroup
from vallum.lab.cluster import Cluster
from vallum.lab.lab import Lab
from vallum.lab.probing import Outcome
from vallum.lab.topology import Topology, complete
from vallum.model.objects import Object, Peer
from vallum.model.snapshot import snapshot_of
from vallum.network.hostgw.plan import plan as hostgw
from vallum.network.options import Options

pytestmark = pytest.mark.packets

DATA_CENTRE = racks(3, 2)
PODS = (ip_network("10.64.0.0/14"), ip_network("fd64::/48"))
FEW = {
    "vallum-router": ["10.64.0.0/16", "10.65.0.0/16", "10.66.0.0/16"],
    "vallum-router:z1": ["10.64.0.0/17", "10.64.128.0/17"],
    "vallum-node1": ["10.64.128.0/17", "10.65.0.0/16", "10.66.0.0/16"],
}
"""What of routes to pods stands where, in IPv4, beyond the own rack: one for each zone or rack."""


def on_each(nodes: int) -> tuple[Object, ...]:
    return (
        space("a"),
        *(pod(f"a/p{number}", app=f"p{number}", node=f"node{number}") for number in range(1, nodes + 1)),
    )


def held(topology: Topology) -> dict[str, tuple[list[str], int]]:
    """By namespace: routes that the kernel holds to IPv4 ranges of more than one node, and how many to pods at all."""
    found = {}
    for name in FEW:
        with netns.entered(name), Rtnetlink() as netlink:
            routes = [each.route.destination for each in netlink.routes()]
        inside = [each for each in routes if each.version == 4 and each.subnet_of(PODS[0])]
        six = [each for each in routes if each.version == 6 and each.subnet_of(PODS[1])]
        own = {network for node in topology.nodes for network in node.pod_ranges}
        few = sorted(str(each) for each in inside if each.prefixlen < 32 and each not in own)
        found[name] = (few, len(inside) - len(six))
    return found


def test_all_pods_of_a_data_centre_reach_each_other_a_policy_holds_and_routes_are_few() -> None:
    guarded = policy("a/guard", select(app="p1"), [rule(Peer(pods=select(app="p12")), ports=[port(80)])])
    asked = [
        parse({"from": f"a/p{one}", "to": f"a/p{other}", "port": 80, "family": family})
        for one, other in permutations(range(1, 13), 2)
        for family in (4, 6)
    ]

    async def piece(lab: Lab) -> tuple[list[str], int, dict[str, tuple[list[str], int]], list[object]]:
        outcomes = await lab.probe(asked)
        allowed = sum(isinstance(each, Outcome) and each.sent == "allow" for each in outcomes)
        problems = [problem for node in (await lab.status())["nodes"] for problem in node["problems"]]
        return told(outcomes), allowed, held(lab.topology), problems

    different, allowed, routes, problems = in_lab(piece, (*on_each(12), guarded), nodes=12, layout=DATA_CENTRE)
    assert different == []
    assert allowed == 2 * (12 * 11 - 10)
    assert problems == []
    assert routes == {name: (few, 0) for name, few in FEW.items()}


@pytest.mark.parametrize("as_nobody", [False, True], ids=["as ourselves", "as nobody"])
def test_a_third_node_in_each_rack_is_no_route_more_beyond_it(*, as_nobody: bool) -> None:
    def piece() -> tuple[dict[str, tuple[list[str], int]], set[str], int]:
        objects = on_each(18)
        cluster = Cluster(ByGroup(DATA_CENTRE, 18, Path("/run/ledger")).start(objects))
        cluster.build()
        world = snapshot_of(complete(objects, cluster.topology))
        problems = set()
        for node in cluster.topology.nodes:
            with netns.entered(node.netns):
                problems |= {str(each) for each in sync(hostgw(world, node.name, Options())).problems}
        with netns.entered("vallum-router:z1:r1"), Rtnetlink() as netlink:
            rack = [each.route.destination for each in netlink.routes()]
        return held(cluster.topology), problems, sum(each.subnet_of(PODS[0]) for each in rack if each.version == 4)

    routes, problems, rack = run_inside(piece, as_nobody=as_nobody)
    assert problems == set()
    assert routes == {name: (few, 0) for name, few in FEW.items()}
    assert rack == 3


def test_pods_that_come_and_go_change_blocks_and_routes_and_nothing_else() -> None:
    layout = racks(1, 2)
    crowd = tuple(pod(f"a/q{number}", app="q", node="node1") for number in range(6))
    line = {"from": "a/q5", "to": "a/p2", "port": 80}

    async def piece(lab: Lab) -> list[object]:
        found: list[object] = [list(map(str, lab.topology.node_of("node3").pod_ranges))]
        for objects in ((*on_each(4), *crowd), on_each(4)):
            await lab.apply(objects)
            ranges = [str(each) for each in lab.topology.node_of("node1").pod_ranges if each.version == 4]
            with netns.entered("vallum-node3"), Rtnetlink() as netlink:
                gateways = {str(each.route.destination) for each in netlink.routes() if each.protocol == 86}
            found.append((ranges, sorted(gateways.intersection(ranges))))
            if objects[-1] in crowd:
                found.append(told(await lab.probe([parse(line)])))
        return found

    several = ["10.64.0.0/30", "10.64.0.8/30"]
    assert in_lab(piece, on_each(4), nodes=4, layout=layout) == [
        ["10.64.0.4/30", "fd64::4/126"],
        (several, several),
        [],
        (several[:1], several[:1]),
    ]


def test_the_ledger_of_a_lab_knows_every_address_that_its_pods_have() -> None:
    async def piece(lab: Lab) -> tuple[set[str], set[str]]:
        ledger = Ledger(lab.settings.folder / "ledger", create=False)
        try:
            kept = {owner: addresses for _, owner, addresses in ledger.state().holding()}
        finally:
            ledger.close()
        return set(kept), {str(plan.pod) for plan in lab.topology.pods if len(kept[str(plan.pod)]) == 2}

    kept, pods = in_lab(piece, on_each(1), nodes=1, layout=racks(1, 1))
    assert kept == pods == {"a/p1"}
