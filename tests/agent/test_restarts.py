"""Flows under way while agents die, restart and load policies: nothing lost, nothing let through (stances 17 to 20)."""

import asyncio
from dataclasses import asdict, replace
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from build import pod, policy, port, rule, select, space
from labs import in_lab, transactions_of
from traffic import Flow, Traffic
from vallum.lab import topology
from vallum.lab.lab import Lab
from vallum.model.objects import Object, Peer, PodId
from vallum.model.selector import EVERYTHING

pytestmark = pytest.mark.packets

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", node="node1")
CLIENT = pod("a/client", "10.44.2.10", "fd44:0:0:2::10", app="client", node="node2")
NEIGHBOUR = pod("a/neighbour", "10.44.1.11", "fd44:0:0:1::11", app="client", node="node1")
STRANGER = pod("a/stranger", "10.44.2.20", "fd44:0:0:2::20", app="stranger", node="node2")
GUARD = policy("a/guard", select(app="server"), [rule(Peer(pods=select(app="client")))])
OUT = policy("a/out", select(app="client"), egress=[rule(Peer(pods=select(app="server")))])
WORLD: tuple[Object, ...] = (space("a"), space("b"), SERVER, CLIENT, NEIGHBOUR, STRANGER, GUARD, OUT)
PAUSE = 0.25
"""Seconds of traffic between two disturbances."""


def flow(lab: Lab, name: str, kind: str, source: str, number: int, *, version: int = 4) -> Flow:
    def end(text: str) -> tuple[str, str]:
        id_ = PodId(*text.split("/"))
        plan = next(each for each in lab.topology.pods if each.pod == id_)
        return plan.netns, str(next(each for each in plan.addresses if each.version == version))

    return Flow(name, kind, end(source), end("a/server"), number)


def allowed(lab: Lab) -> list[Flow]:
    return [
        flow(lab, "udp", "udp", "a/client", 5000),
        flow(lab, "udp6", "udp", "a/client", 5000, version=6),
        flow(lab, "tcp", "tcp", "a/client", 5001),
        flow(lab, "tcp6", "tcp", "a/neighbour", 5001, version=6),
    ]


def denied(lab: Lab) -> list[Flow]:
    return [
        flow(lab, "udp denied", "udp", "a/stranger", 5002),
        flow(lab, "syn denied", "syn", "a/stranger", 5003),
        flow(lab, "syn6 denied", "syn", "a/stranger", 5003, version=6),
    ]


def told(counts: dict[str, Any], least: int) -> list[str]:
    """What was lost of the allowed, and what leaked of the denied."""
    wrong = []
    for name, count in counts.items():
        if count.sent < least:
            wrong.append(f"{name}: only {count.sent} packets sent")
        if "denied" in name:
            wrong += [f"{name}: {count.at_server} leaked"] * bool(count.at_server)
        elif not count.sent == count.at_server == count.at_client or count.lost or count.refused:
            wrong.append(f"{name}: {asdict(count)}")
    return wrong


def unrelated(number: int) -> tuple[Object, ...]:
    """Pods and policies elsewhere: new sets, chains and a new revision on both nodes."""
    pods = [pod(f"b/p{number}x{index}", app=f"p{index}", node=f"node{1 + index % 2}") for index in range(2)]
    rules = [rule(Peer(EVERYTHING), ports=[port(80 + number), port(1000, 2000 + number)])]
    return (*pods, policy(f"b/p{number}", ingress=rules, egress=rules))


async def healthy(lab: Lab, name: str) -> None:
    await lab.agents[name].until(lambda status: status["revision"] == lab.revision and status["healthy"], 20)


async def died_and_restarted(lab: Lab, number: int) -> None:
    for name, agent in lab.agents.items():
        await agent.stop(number)
        await asyncio.sleep(PAUSE)
        agent.start()
        await healthy(lab, name)


@pytest.mark.stance(20)
def test_nothing_is_lost_and_nothing_leaks_while_agents_die_restart_and_load_policies():
    async def piece(lab: Lab) -> list[str]:
        with Traffic([*allowed(lab), *denied(lab)]) as traffic:
            await asyncio.sleep(PAUSE)
            await died_and_restarted(lab, SIGKILL)
            await died_and_restarted(lab, SIGTERM)
            for number in range(4):
                await lab.apply((*WORLD, *unrelated(number)))
                await asyncio.sleep(PAUSE / 4)
            return told(traffic.stop(), least=1000)

    assert in_lab(piece, WORLD) == []


@pytest.mark.stance(20)
def test_a_restarted_agent_sends_nothing_where_nothing_changed():
    async def piece(lab: Lab) -> list[str]:
        before = transactions_of(lab)
        await died_and_restarted(lab, SIGKILL)
        after = transactions_of(lab)
        return [f"{name}: {after[name] - before[name]} transactions" for name in before if after[name] != before[name]]

    assert in_lab(piece, WORLD) == []


@pytest.mark.stance(18, 20)
def test_a_change_made_while_the_agent_was_down_is_enforced_when_it_is_back():
    async def piece(lab: Lab) -> list[str]:
        for agent in lab.agents.values():
            await agent.stop(SIGKILL)
        relabelled = replace(CLIENT, labels=(("app", "stranger"),))
        lab.stated = tuple(relabelled if thing == CLIENT else thing for thing in WORLD)
        lab.revision = lab.world.replace(topology.complete(lab.stated, lab.topology))
        with Traffic([flow(lab, "cut", "udp", "a/client", 5000), *allowed(lab)[3:]]) as traffic:
            await asyncio.sleep(PAUSE)
            for name, agent in lab.agents.items():
                agent.start()
                await healthy(lab, name)
            traffic.mark()
            await asyncio.sleep(PAUSE)
            counts = traffic.stop()
        wrong = told({"tcp6": counts["tcp6"]}, 100)
        if not counts["cut"].at_server or counts["cut"].late:
            wrong.append(f"{counts['cut']}")
        return wrong

    assert in_lab(piece, WORLD) == []


@pytest.mark.stance(18)
def test_a_label_change_cuts_running_flows_at_the_next_packet_in_both_directions():
    async def piece(lab: Lab) -> list[str]:
        cut = [
            flow(lab, "udp", "udp", "a/client", 5000),
            flow(lab, "tcp", "tcp", "a/client", 5001),
            flow(lab, "udp pushed", "udp-push", "a/client", 5004),
            flow(lab, "tcp pushed", "tcp-push", "a/client", 5005),
            flow(lab, "udp6 pushed", "udp-push", "a/client", 5004, version=6),
        ]
        kept = [flow(lab, "kept udp", "udp", "a/neighbour", 5006), flow(lab, "kept tcp", "tcp", "a/neighbour", 5007)]
        with Traffic([*cut, *kept]) as traffic:
            await asyncio.sleep(PAUSE)
            relabelled = replace(CLIENT, labels=(("app", "stranger"),))
            await lab.apply(tuple(relabelled if thing == CLIENT else thing for thing in WORLD))
            traffic.mark()
            await asyncio.sleep(2 * PAUSE)
            counts = traffic.stop()
        wrong = told({name: count for name, count in counts.items() if name.startswith("kept")}, 200)
        for one in cut:
            count = counts[one.name]
            if not count.at_server + count.at_client:
                wrong.append(f"{one.name} never flowed: {count}")
            if count.late:
                wrong.append(f"{one.name} was not cut: {count}")
        return wrong

    assert in_lab(piece, WORLD) == []
