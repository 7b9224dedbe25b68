"""What others take from our table or our routes comes back, and status says who took it. Only waited for here; how long
it takes is measured by `vallum bench restore`.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from build import block, pod, policy, port, rule, select, space
from inside import eventually
from labs import in_lab, nft, told, transactions_of
from vallum.analysis.probe import parse
from vallum.kernel import netns
from vallum.kernel.rtnetlink import HeldRoute, Rtnetlink
from vallum.lab.lab import Lab
from vallum.model.objects import Object, Peer
from vallum.model.wiring import ROUTE_PROTOCOL, Route

pytestmark = pytest.mark.packets

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", node="node1")
CLIENT = pod("a/client", "10.44.2.10", "fd44:0:0:2::10", app="client", node="node2")
STRANGER = pod("a/stranger", "10.44.2.20", "fd44:0:0:2::20", app="stranger", node="node2")
GUARD = policy(
    "a/guard",
    select(app="server"),
    [rule(Peer(pods=select(app="client"))), rule(block("203.0.113.0/24"), ports=[port(80), port(1000, 2000)])],
)
WORLD: tuple[Object, ...] = (space("a"), SERVER, CLIENT, STRANGER, GUARD)
NODE = "node1"
PROBES = [
    parse({"from": "a/client", "to": "a/server", "port": 80}),
    parse({"from": "a/stranger", "to": "a/server", "port": 80}),
    parse({"from": "203.0.113.9", "to": "a/server", "port": 1500}),
    parse({"from": "203.0.113.9", "to": "a/server", "port": 81}),
]


def space_of(lab: Lab) -> str:
    return lab.topology.node_of(NODE).netns


def listing(lab: Lab) -> str:
    return nft(space_of(lab), "-s", "list", "table", "inet", "vallum")


def objects(lab: Lab, keyword: str) -> Iterator[tuple[str, str]]:
    """Names and bodies of the chains, sets or maps as nft prints them."""
    for part in listing(lab).split(f"\t{keyword} ")[1:]:
        name, _, body = part.partition(" {")
        yield name, body.partition("\n\t}")[0]


def first_rule(lab: Lab) -> tuple[str, str]:
    """A profile's chain and the handle of its first rule."""
    chain = next(name for name, body in objects(lab, "chain") if "comment" in body)
    line = next(
        line
        for line in nft(space_of(lab), "-a", "list", "chain", "inet", "vallum", chain).splitlines()
        if "return" in line
    )
    return chain, line.rpartition("handle ")[2]


def an_element(lab: Lab) -> tuple[str, str]:
    """A map of pods and one of its keys."""
    for name, body in objects(lab, "map"):
        if "elements = { 10.44.1.10" in body:
            return name, "10.44.1.10"
    raise AssertionError("no map holds the server")


def meddle_flush(lab: Lab) -> list[str]:
    del lab
    return ["flush", "ruleset"]


def meddle_table(lab: Lab) -> list[str]:
    del lab
    return ["delete", "table", "inet", "vallum"]


def meddle_chain(lab: Lab) -> list[str]:
    del lab
    return ["delete", "chain", "inet", "vallum", "judge"]


def meddle_chain_flush(lab: Lab) -> list[str]:
    return ["flush", "chain", "inet", "vallum", first_rule(lab)[0]]


def meddle_rule(lab: Lab) -> list[str]:
    chain, handle = first_rule(lab)
    return ["delete", "rule", "inet", "vallum", chain, "handle", handle]


def meddle_element(lab: Lab) -> list[str]:
    name, key = an_element(lab)
    return ["delete", "element", "inet", "vallum", name, "{", key, "}"]


def meddle_added_rule(lab: Lab) -> list[str]:
    del lab
    return ["insert", "rule", "inet", "vallum", "judge", "accept"]


def meddle_added_element(lab: Lab) -> list[str]:
    name = next(name for name, body in objects(lab, "set") if "type ipv4_addr\n" in body and "10.44.2.10" in body)
    return ["add", "element", "inet", "vallum", name, "{", "10.44.2.20", "}"]


def meddle_dormant(lab: Lab) -> list[str]:
    """Nothing is deleted, and nothing is enforced any more."""
    del lab
    return ["add", "table", "inet", "vallum", "{ flags dormant; }"]


def meddle_added_chain(lab: Lab) -> list[str]:
    del lab
    return ["add", "chain", "inet", "vallum", "theirs"]


MEDDLING = (
    meddle_flush,
    meddle_table,
    meddle_chain,
    meddle_chain_flush,
    meddle_rule,
    meddle_element,
    meddle_added_rule,
    meddle_added_element,
    meddle_dormant,
    meddle_added_chain,
)


@pytest.mark.stance(22)
def test_whatever_nft_does_to_the_table_is_undone_and_status_names_nft_and_what_it_did():
    async def piece(lab: Lab) -> list[Any]:
        wrong: list[Any] = []
        agent = lab.agents[NODE]
        good = listing(lab)
        for number, meddle in enumerate(MEDDLING, 1):
            nft(space_of(lab), *meddle(lab))
            status = await agent.until(lambda status, n=number: status["repaired"] >= n and status["healthy"], 10)  # type: ignore[misc]
            repair = status["repairs"][-1]
            if not repair["by"].startswith("nft[") or not repair["how"]:
                wrong.append((meddle.__name__, repair))
            if generalised(listing(lab)) != generalised(good):
                wrong.append((meddle.__name__, "another table than before"))
            wrong += told(await lab.probe(PROBES))
        return wrong

    assert in_lab(piece, WORLD) == []


def generalised(text: str) -> list[str]:
    """A listing without generation and number, in an order of its own."""
    lines = (line for line in text.splitlines() if "ct mark" not in line)
    return sorted(line.replace(" b_", " a_").replace("@b_", "@a_") for line in lines)


def test_an_event_buffer_that_runs_over_means_a_look_and_nothing_is_sent():
    many = ", ".join(f"10.{a}.{b}.0" for a in range(16) for b in range(250))
    script = f"add table inet other\nadd set inet other s {{ type ipv4_addr; elements = {{ {many} }} }}\n"

    async def piece(lab: Lab) -> list[Any]:
        agent = lab.agents[NODE]
        before, reconciles = transactions_of(lab)[NODE], agent.status["reconciles"]
        nft(space_of(lab), script=script)
        status = await agent.until(lambda status: status["reconciles"] > reconciles, 20)
        sent = transactions_of(lab)[NODE] - before - 1
        wrong: list[Any] = [] if sent == 0 else [f"{sent} transactions"]
        return wrong if status["repaired"] == 0 else [*wrong, status["repairs"]]

    assert in_lab(piece, WORLD) == []


@pytest.mark.stance(22)
def test_what_others_do_to_their_own_tables_is_none_of_our_business():
    async def piece(lab: Lab) -> list[Any]:
        agent, where = lab.agents[NODE], space_of(lab)
        before = transactions_of(lab)[NODE]
        nft(where, "add", "table", "inet", "other")
        nft(where, "add", "chain", "inet", "other", "c", "{ type filter hook forward priority 0; }")
        await lab.apply((*WORLD, pod("b/new", node=NODE)))
        wrong = [] if agent.status["repaired"] == 0 else agent.status["repairs"]
        if "chain c" not in nft(where, "list", "table", "inet", "other") or before == transactions_of(lab)[NODE]:
            wrong.append("their table is gone")
        return wrong

    assert in_lab(piece, WORLD) == []


def routes(lab: Lab) -> set[HeldRoute]:
    """All routes of the node."""
    with netns.entered(space_of(lab)), Rtnetlink() as links:
        return set(links.routes())


@pytest.mark.stance(22)
def test_a_deleted_route_of_ours_comes_back_and_others_routes_stay():
    theirs = Route(ip_network("192.0.2.0/24"), None, "eth0")

    async def piece(lab: Lab) -> list[Any]:
        agent = lab.agents[NODE]
        mine = ip_network("10.44.2.0/24")
        with netns.entered(space_of(lab)), Rtnetlink() as links:
            links.add_route(theirs)
        before = routes(lab)
        with netns.entered(space_of(lab)), Rtnetlink() as links:
            links.delete_route(mine, protocol=ROUTE_PROTOCOL)
        status = await agent.until(lambda status: status["repaired"] >= 1, 10)
        assert eventually(lambda: routes(lab) == before)
        wrong: list[Any] = told(await lab.probe(PROBES))
        if "10.44.2.0/24" not in status["repairs"][-1]["how"]:
            wrong.append(status["repairs"])
        if theirs not in {held.route for held in before if held.protocol != ROUTE_PROTOCOL}:
            wrong.append(f"their route: {before}")
        return wrong

    assert in_lab(piece, WORLD) == []
