"""A new layout over a living one: slots stay, spares are taken, nothing in use is stranded, a refusal does nothing."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ipam.layouts import FLAT, RACKS, ZONES, World, layout, leaf, network, same, split
from vallum.ipam import blackouts, plan, romana
from vallum.ipam.records import Group, Network
from vallum.ipam.topology import Layout
from vallum.ipam.verify import verify
from vallum.model.errors import InputError, InputErrors
from vallum.model.selector import labels


def racks(*names: str) -> Layout:
    """Network dc split by racks."""
    return layout([network("dc", "172.28.0.0/18")], split("dc", ["dc"], *(leaf(name, rack=name) for name in names)))


def living(*names: str) -> World:
    """A host with a pod in each rack."""
    world = World(racks(*names))
    for name in names:
        world.join(f"h-{name}", rack=name)
        world.take(f"h-{name}", f"p-{name}")
    return world


def cidrs(world: World) -> dict[str, str]:
    tree = world.state.trees["dc"]
    return {spot.group.name: str(spot.cidr) for spot in tree.spots.values() if spot.group.name}


def refused(world: World, of: Layout | dict[str, Any]) -> str:
    before = same(world.state)
    with pytest.raises(InputError) as raised:
        world.lay(of)
    assert same(world.state) == before
    return str(raised.value)


def test_the_same_layout_again_changes_nothing() -> None:
    for document in (FLAT, RACKS, ZONES):
        world = World(document)
        assert not plan.plan(world.state, romana.read(document)).change
    assert not plan.plan(living("a", "b", "c").state, racks("a", "b", "c")).change


def test_a_new_group_takes_a_spare_slot_and_moves_no_prefix() -> None:
    world = living("a", "b", "c")
    before = cidrs(world)
    made = world.lay(racks("d", "a", "b", "c"))  # though it is written first
    assert cidrs(world) == {**before, "d": "172.28.48.0/20"}
    assert (made.moves, made.hosts_stay, made.addresses_stay) == ((), 3, 3)


def test_a_group_that_went_leaves_a_spare_behind_and_the_others_stay() -> None:
    world = living("a", "b", "c")
    world.leave("h-b")
    before = cidrs(world)
    world.lay(racks("a", "c"))
    assert cidrs(world) == {name: before[name] for name in "ac"}
    assert [group.spare for group in world.state.topologies["dc"].groups] == [False, True, False, True]
    world.lay(racks("a", "c", "d", "e"))
    assert cidrs(world) == {"a": before["a"], "c": before["c"], "d": before["b"], "e": "172.28.48.0/20"}


def test_no_spare_slot_is_refused_with_another_network_as_the_cure() -> None:
    assert refused(living("a", "b"), racks("a", "b", "c")) == (
        "Topology dc map: the new group c needs a slot, and all 2 of the map are taken; a split of more would move "
        "prefixes with hosts in them: put the new group into another network"
    )


def test_another_network_beside_it_is_what_helps() -> None:
    world = living("a", "b")
    old = racks("a", "b")
    more = network("dc2", "172.29.0.0/18", order=1)
    world.lay(layout([*old.networks, more], *old.topologies, split("dc2", ["dc2"], leaf("c", rack="c"))))
    world.join("h-c", rack="c")
    assert world.take("h-c", "p-c") == "172.29.0.0"


def test_a_tree_without_hosts_may_be_split_anew() -> None:
    world = World(racks("a", "b"))
    world.lay(racks("a", "b", "c"))
    assert cidrs(world)["b"] == "172.28.16.0/20"


def test_a_group_may_get_another_name_or_other_labels_but_not_both() -> None:
    world = living("a", "b")
    old = cidrs(world)
    world.lay(layout([network("dc", "172.28.0.0/18")], split("dc", ["dc"], leaf("new", rack="a"), leaf("b", rack="b"))))
    assert cidrs(world) == {"new": old["a"], "b": old["b"]}


def test_a_host_without_addresses_moves_and_is_reported() -> None:
    world = World(racks("a", "b", "c"))
    world.join("h", rack="c")
    wider = layout([network("dc", "172.28.0.0/18")], split("dc", ["dc"], leaf("a", rack="a"), leaf("any")))
    (move,) = world.lay(wider).moves
    assert (move.host, str(move.before), str(move.after)) == ("h", "172.28.32.0/20", "172.28.48.0/20")


def test_a_group_may_be_split_further_where_that_strands_nothing() -> None:
    world = World(FLAT, "h", "i")
    world.take("h", "p")
    world.take("i", "q", "10.40.8.0")
    halves = copy.deepcopy(FLAT)
    halves["topologies"][0]["map"][0]["groups"] = [{"groups": []}, {"groups": []}]
    made = world.lay(halves)
    assert {move.host: str(move.after) for move in made.moves} == {"h": "10.40.0.0/21", "i": "10.40.8.0/21"}
    assert not verify(world.state)
    world.take("h", "r", "10.40.0.1")
    quarters = copy.deepcopy(halves)
    quarters["topologies"][0]["map"][0]["groups"] = [{"groups": []}, {"assignment": {"rack": "x"}, "groups": []}]
    assert "Host i network pods-a: 10.40.8.0 in use there would be stranded" in refused(world, quarters)


def test_every_host_that_would_be_stranded_is_named() -> None:
    with pytest.raises(InputErrors) as raised:
        living("a", "b", "c").lay(racks("d"))
    assert [error.place for error in raised.value.errors] == [f"Host h-{name} network dc" for name in "abc"]


def test_a_network_that_another_topology_splits_keeps_its_hosts_around_their_addresses() -> None:
    nets = [network("one", "10.0.0.0/24"), network("two", "10.1.0.0/24", order=1)]
    quarters = [leaf(), leaf(), leaf(), leaf()]
    world = World(layout(nets, split("one", ["one"], leaf(), leaf()), split("two", ["two"], *quarters)), "h")
    world.take("h", "p", "10.0.0.100")
    world.lay(layout(nets, split("two", ["two", "one"], *quarters)))
    assert str(world.region("h", "one")) == "10.0.0.64/26"
    assert not verify(world.state)


def test_a_host_that_keeps_one_network_is_not_stranded_in_another() -> None:
    nets = [network("one", "10.0.0.0/24"), network("two", "fd00::/120", order=1)]
    trees = [split(each.name, [each.name], leaf(rack="a"), leaf(rack="b")) for each in nets]
    world = World(layout(nets, *trees))
    world.join("h", rack="a")
    world.take("h", "p")
    closed = split("two", ["two"], Group(spare=True), leaf(rack="b"))
    assert "Host h network two: fd00:: in use there would be stranded" in refused(world, layout(nets, trees[0], closed))


@pytest.mark.parametrize(
    ("after", "error"),
    [
        (
            list,
            "Network dc: is left out, and 2 of its addresses are in use; drain it first, or add a network",
        ),
        (lambda: [network("dc", "172.28.0.0/17")], "Network dc: becomes 172.28.0.0/17 with blocks of /29, and 2"),
        (
            lambda: [network("dc", "172.28.0.0/18", 28)],
            "Network dc: becomes 172.28.0.0/18 with blocks of /28, and 2",
        ),
    ],
)
def test_a_network_with_addresses_in_use_keeps_its_range_and_blocks(
    after: Callable[[], list[Network]], error: str
) -> None:
    found = refused(living("a", "b"), layout(after()))
    assert error in found


def test_a_network_without_addresses_in_use_may_go_and_takes_its_blocks_along() -> None:
    world = living("a", "b")
    world.free("h-a", "p-a")
    world.free("h-b", "p-b")
    made = world.lay(layout([network("other", "10.0.0.0/24")]))
    assert {move.after is not None for move in made.moves} == {True, False}
    assert not world.state.blocks
    assert world.take("h-a", "p") == "10.0.0.0"
    assert not verify(world.state)


def test_prefixes_of_hosts_stay_with_them_when_others_move_in() -> None:
    own = layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(name="all", host_prefix=26)))
    world = World(own, "a", "b", "c")
    for host in "bc":
        world.take(host, "p")
    world.leave("a")
    before = {host: world.region(host) for host in "bc"}
    halves = Group(name="all", groups=(Group(host_prefix=26), Group(host_prefix=26)))
    world.lay(layout([network("n", "10.0.0.0/24")], split("n", ["n"], halves)))
    assert {host: world.region(host) for host in "bc"} == before
    assert not verify(world.state)


def test_blackouts_stay_where_their_network_stays_and_new_ones_are_put_in() -> None:
    world = living("a", "b")
    from_file = layout([network("dc", "172.28.0.0/18")], *racks("a", "b").topologies)
    (cidr,) = (each.cidr for each in from_file.networks)
    one, two = list(cidr.subnets(new_prefix=24))[5:7]
    world.do(blackouts.black_out(world.state, one))
    world.lay(Layout(from_file.networks, from_file.topologies, (blackouts.Blackout(cidr=two),)))
    assert set(world.state.blackouts) == {one, two}


def test_fixed_hosts_come_with_their_topology_and_a_wrong_address_is_refused() -> None:
    world = World(RACKS)
    both = copy.deepcopy(RACKS)
    both["networks"].append({"name": "lab", "cidr": "10.0.0.0/24"})
    both["topologies"].append({"networks": ["lab"], "map": [{"groups": [{"name": "n1", "ip": "192.0.2.1"}]}]})
    world.lay(both)
    assert labels({}) == world.state.hosts["n1"].labels
    both["topologies"][1]["map"][0]["groups"][0]["ip"] = "192.0.2.2"
    assert refused(world, both) == (
        "Topology lab map: 192.0.2.2 is not that of the host n1 that is here; mend one of the two"
    )
