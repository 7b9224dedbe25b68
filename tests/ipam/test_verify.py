"""Each contradiction that records can have among themselves or with the node is found; a healthy state has none."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ipam.layouts import RACKS, World, layout, leaf, network, split
from vallum.ipam.records import Blackout, Block, Change, Group, Host, Place, Record
from vallum.ipam.usage import draining, usage_of, usage_tree
from vallum.ipam.verify import verify
from vallum.model.address import pack, parse


def healthy() -> World:
    world = World(RACKS)
    for name in "ab":
        world.join(f"h-{name}", rack=name)
        world.take(f"h-{name}", f"p-{name}")
    return world


def block(first: str, mask: int = 29, **more: object) -> Block:
    return replace(Block(network="dc", first=parse(first), mask=mask), **more)


HELD = {"used": {0: "p"}, "host": "h-a"}


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (block("172.28.0.8", **HELD), None),
        (block("172.28.16.8", **HELD), "outside-group"),
        (block("172.28.48.0"), "no-group"),
        (block("172.28.0.12"), "misaligned"),
        (block("172.28.0.16", 28), "block-mask"),
        (block("10.0.0.0"), "no-network"),
        (block("172.28.0.8", used={8: "p"}, host="h-a"), "outside"),
        (block("172.28.0.8", used={1: "p"}, freed={1: 2.0}, host="h-a"), "used-and-free"),
        (block("172.28.0.8", used={1: "p"}), "nobody"),
        (block("172.28.0.8", used={1: "p"}, host="gone"), "unknown-host"),
        (Host(name="x", places=(Place("dc", (3,)),)), "misplaced"),
        (Host(name="x", labels=(("rack", "a"),), places=(Place("dc", (1,)),)), "misplaced"),
        (Host(name="x", labels=(("rack", "a"),), places=(Place("none", (1,)),)), "misplaced"),
        (Blackout(cidr=ip_network("192.0.2.0/24")), "layout"),
        (network("other", "172.28.0.0/24"), "layout"),
    ],
)
def test_a_contradiction_is_found_by_its_name(record: Record, rule: str | None) -> None:
    world = healthy()
    world.do(Change(puts=(record,)))
    rules = {finding.rule for finding in verify(world.state)}
    assert rule in rules if rule else not rules


def test_blocks_that_overlap_are_found() -> None:
    world = healthy()
    world.take("h-a", "w", "172.28.0.25")
    world.do(Change(puts=(block("172.28.0.16", 28),)))
    assert "Block 172.28.0.24/29: overlaps block 172.28.0.16/28: an address may be given twice (overlap)" in map(
        str, verify(world.state)
    )


def test_two_hosts_with_one_prefix_or_address_are_found() -> None:
    world = World(layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(host_prefix=26))), "a")
    (mine,) = world.state.hosts["a"].places
    for name in "ab":
        world.do(Change(puts=(Host(name=name, addresses=(ip_address("192.0.2.1"),), places=(mine,)),)))
    assert {finding.rule for finding in verify(world.state)} == {"prefix-twice", "host-twice"}


def test_the_node_and_the_records_are_compared_both_ways() -> None:
    world = healthy()
    held = {"h-a": {"p-a": [ip_address("172.28.0.0")]}}
    assert not verify(world.state, held)
    held = {
        "h-a": {"q": [ip_address("172.28.0.0")], "r": [ip_address("172.28.0.1"), ip_address("192.0.2.9")]},
        "h-b": {},
    }
    assert [str(finding) for finding in verify(world.state, held)] == [
        "address 172.28.0.0: q on host h-a uses it, and it was given to p-a (other-owner)",
        "address 172.28.0.1: r on host h-a uses it, and nobody gave it (unknown)",
        "address 172.28.16.0: given to p-b on host h-b, and nobody uses it (lost)",
    ]


def test_an_address_that_two_hosts_use_is_found() -> None:
    world = healthy()
    world.adopt("h-b", **{"p-b": ["172.28.16.0"], "x": ["172.28.0.0"]})
    assert [finding.rule for finding in verify(world.state)] == ["twice"]


def test_use_is_counted_for_every_group_and_sums_up() -> None:
    world = World(
        layout([network("n", "10.0.0.0/24", reserved=(ip_network("10.0.0.0/28"),))], split("n", ["n"], *[leaf()] * 2))
    )
    world.join("a")
    world.join("b")
    for number in range(9):
        world.take("a", f"p{number}")
    world.free("a", "p3")
    world.adopt("b", x=["10.0.0.3"])
    n = world.state.networks["n"]
    (_, first, _), (_, second, hosts) = usage_tree(world.state, n, world.now)
    assert (first.size, first.used, first.resting, first.closed, first.free, first.blocks) == (128, 9, 1, 15, 103, 2)
    assert (second.size, second.used, second.free, hosts) == (128, 0, 128, 1)
    assert usage_of(world.state, n, n.cidr, world.now).free == 231


def test_a_blackout_over_addresses_in_use_reports_what_drains() -> None:
    world = healthy()
    world.do(Change(puts=(Blackout(cidr=ip_network("172.28.0.0/21")),)))
    assert [(str(each.cidr), live) for each, live in draining(world.state)] == [
        ("172.28.0.0/21", [pack(ip_address("172.28.0.0"))])
    ]
