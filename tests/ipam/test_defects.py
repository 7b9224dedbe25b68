"""The defects of Romana's own address management, one test each: none of them may come back."""

from ipaddress import ip_address, ip_network

import pytest

from ipam.layouts import RACKS, World, layout, leaf, network, split
from vallum.ipam import ExhaustedError, blackouts, blocks, romana, usage
from vallum.ipam.records import Group
from vallum.ipam.verify import verify
from vallum.model.errors import InputError


def test_defect_1_spare_groups_are_closed_to_every_host_until_they_are_named() -> None:
    world = World(RACKS)
    for number in range(4):
        world.join(f"a{number}", rack="a")
    assert {str(world.region(f"a{number}")) for number in range(4)} == {"172.28.0.0/20"}
    with pytest.raises(InputError, match="no group takes a host with the labels none; groups ask for: rack=a; rack=b"):
        world.join("bare")

    bare = World(layout([network("n", "10.0.0.0/24")], split("n", ["n"], leaf(), leaf(), leaf())))
    for number in range(8):
        bare.join(f"h{number}")
    assert {str(bare.region(f"h{number}")) for number in range(8)} == {"10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26"}


def test_defect_2_freeing_below_the_lowest_free_address_loses_none() -> None:
    """5 of 8 in use; .2 then .0 freed: Romana forgot .5 to .7 for ever, and the block never became empty."""
    world = World(layout([network("n", "10.0.0.0/29")]), "h")
    for number in range(5):
        world.take("h", f"p{number}")
    for number in (2, 0):
        world.free("h", f"p{number}")
    assert {world.take("h", f"q{number}") for number in range(5)} == {f"10.0.0.{last}" for last in (0, 2, 5, 6, 7)}
    for owner in ("p1", "p3", "p4", *(f"q{number}" for number in range(5))):
        world.free("h", owner)
    assert [block.host for block in world.state.blocks.values()] == [None]


def test_defect_3_the_count_is_right_when_the_first_addresses_are_free_and_the_block_is_fragmented() -> None:
    world = World(layout([network("n", "10.0.0.0/29")]), "h")
    for number in range(8):
        world.take("h", f"p{number}")
    for number in (0, 1, 4):
        world.free("h", f"p{number}")
    n = world.state.networks["n"]
    counted = usage.usage_of(world.state, n, n.cidr, world.now)
    assert (counted.used, counted.resting, counted.free, counted.size) == (5, 3, 0, 8)
    assert usage.usage_of(world.state, n, n.cidr, world.now + 30).free == 3


def test_defect_4_a_block_larger_than_its_group_is_refused() -> None:
    racks = [leaf(), leaf(), leaf(), leaf()]
    with pytest.raises(InputError) as error:
        layout([network("n", "10.0.0.0/28", 29)], split("n", ["n"], *racks))
    assert str(error.value) == (
        "Topology n map[0]: a block of network n (/29) is larger than 10.0.0.0/30 of this group; "
        "set the network's blockMask to 30 or longer, or use fewer groups"
    )
    world = World(layout([network("n", "10.0.0.0/28", 30)], split("n", ["n"], *racks)), "a", "b")
    assert [world.take("a", "p"), world.take("b", "q")] == ["10.0.0.0", "10.0.0.4"]


def test_defect_4_holds_for_prefixes_per_host_too() -> None:
    with pytest.raises(InputError, match=r"larger than each host's /26 of this group; set .* to 26 or longer"):
        layout([network("n", "10.0.0.0/24", 25)], split("n", ["n"], Group(host_prefix=26)))


def test_defect_5_a_late_free_for_a_removed_host_releases_nobody_elses_address() -> None:
    world = World(layout([network("n", "10.0.0.0/29")]), "old")
    assert world.take("old", "pod") == "10.0.0.0"
    world.leave("old")
    world.now += 30
    world.join("new")
    for number in range(8):
        world.take("new", f"p{number}")
    world.free("old", "pod")
    world.do(blocks.free_address(world.state, ip_address("10.0.0.0"), world.now, "pod"))
    assert len(world.used()) == 8
    assert not verify(world.state)


def test_defect_5_two_tenants_never_share_a_block_after_its_host_was_removed() -> None:
    world = World(layout([network("n", "10.0.0.0/28", blocks="tenant")]), "h")
    world.take("h", "one", tenant="red")
    world.leave("h")
    world.join("h")
    world.take("h", "two", tenant="blue")
    world.take("h", "three", tenant="red")
    assert {(block.tenant, frozenset(block.used.values())) for block in world.state.blocks.values()} == {
        ("blue", frozenset({"two"})),
        ("red", frozenset({"three"})),
    }


def test_defect_6_a_topology_update_works_after_hosts_joined_and_addresses_are_live() -> None:
    world = World(RACKS)
    for rack in "abc":
        world.join(f"h-{rack}", rack=rack)
        world.take(f"h-{rack}", f"pod-{rack}")
    before = world.used()
    four = {**RACKS, "topologies": [{"networks": ["dc"], "map": [*RACKS["topologies"][0]["map"]]}]}
    four["topologies"][0]["map"].append({"name": "d", "assignment": {"rack": "d"}, "groups": []})
    made = world.lay(four)
    assert (made.moves, made.hosts_stay, made.addresses_stay) == ((), 3, 3)
    world.join("h-d", rack="d")
    assert world.take("h-d", "pod-d") == "172.28.48.0"
    assert world.used() == [*before, "172.28.48.0"]
    assert not verify(world.state)


def test_defect_6_a_refused_update_changes_nothing() -> None:
    world = World(RACKS)
    world.join("h", rack="b")
    world.take("h", "pod")
    before = list(world.state.records())
    fewer = {**RACKS, "topologies": [{"networks": ["dc"], "map": [RACKS["topologies"][0]["map"][0]]}]}
    with pytest.raises(InputError, match=r"Host h network dc: 172\.28\.16\.0 in use there would be stranded"):
        world.lay(fewer)
    assert list(world.state.records()) == before
    assert world.take("h", "other") == "172.28.16.1"


def test_defect_7_a_blackout_reaches_a_run_in_use_that_only_partly_overlaps_it() -> None:
    world = World(layout([network("n", "10.0.0.0/28", 28)]), "h")
    for number in range(6):
        world.take("h", f"p{number}")
    world.do(blackouts.black_out(world.state, ip_network("10.0.0.4/30")))
    ((_, live),) = usage.draining(world.state)
    assert [address & 0xFF for address in live] == [4, 5]
    world.free("h", "p4")
    world.now += 30
    given = {world.take("h", f"q{number}") for number in range(8)}
    assert not given & {f"10.0.0.{last}" for last in range(4, 8)}
    with pytest.raises(ExhaustedError):
        world.take("h", "none")


def test_defect_7_a_range_with_host_bits_set_is_refused_with_what_was_meant() -> None:
    with pytest.raises(
        InputError, match=r"networks\[0\]\.cidr: 10\.0\.0\.9/28 has host bits set; write 10\.0\.0\.0/28"
    ):
        romana.read({"networks": [{"name": "n", "cidr": "10.0.0.9/28"}], "topologies": []})


def test_defect_8_a_network_that_no_topology_uses_is_listed_and_hands_out_nothing() -> None:
    idle, used = network("idle", "10.0.0.0/24"), network("used", "10.1.0.0/24", order=1)
    world = World(layout([idle, used], split("used", ["used"], leaf())), "h")
    assert [each.network for each in world.state.hosts["h"].places] == ["used"]
    assert list(usage.usage_tree(world.state, idle, 0)) == []
    assert usage.usage_of(world.state, idle, idle.cidr, 0).free == 256
    assert world.take("h", "pod") == "10.1.0.0"
    assert romana.write(world.state)["networks"][0] == {"name": "idle", "cidr": "10.0.0.0/24", "block_mask": 29}
    assert not verify(world.state)
