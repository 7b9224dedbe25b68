"""Hosts find their groups: labels, the fewest hosts, fixed hosts, a prefix each; nobody moves because of another."""

from ipaddress import ip_address

import pytest

from ipam.layouts import KUBEADM, RACKS, ZONES, World, layout, leaf, network, split
from vallum.ipam import place
from vallum.ipam.records import Change, Group
from vallum.ipam.verify import verify
from vallum.model.errors import InputError
from vallum.model.selector import Operator, Requirement, Selector, labels

SSD = Selector((Requirement("disk", Operator.IN, ("ssd",)),))
PREFIXES = layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(host_prefix=26)))


def test_the_group_with_the_fewest_hosts_is_taken_and_the_first_on_a_tie() -> None:
    world = World(KUBEADM)
    for number in range(10):
        world.join(f"h{number}")
    groups = [int(str(world.region(f"h{number}")).split(".")[1]) for number in range(10)]
    assert groups == [112, 114, 116, 118, 120, 122, 124, 126, 112, 114]
    world.leave("h2")
    world.join("again")
    assert str(world.region("again")) == "10.116.0.0/15"


def test_every_ancestor_must_match_too() -> None:
    world = World(ZONES)
    world.join("fits", zone="z2", rack="r3", extra="yes")
    assert str(world.region("fits")) == "10.66.0.0/16"
    with pytest.raises(
        InputError, match=r"no group takes a host with the labels rack=r3,zone=z1; groups ask for: zone=z1,"
    ):
        world.join("wrong-zone", zone="z1", rack="r3")


def test_a_host_joins_and_leaves_without_changing_the_place_of_another() -> None:
    world = World(PREFIXES, "a", "b", "c")
    before = {name: each.places for name, each in world.state.hosts.items()}
    world.leave("b")
    world.join("d")
    assert str(world.region("d")) == "10.0.0.64/26"  # the range that b left
    assert {name: world.state.hosts[name].places for name in "ac"} == {name: before[name] for name in "ac"}


def test_a_prefix_per_host_is_the_hosts_own_and_the_last_is_told() -> None:
    world = World(PREFIXES, "a", "b", "c", "d")
    assert [str(world.region(name)) for name in "abcd"] == [f"10.0.0.{first}/26" for first in (0, 64, 128, 192)]
    assert [world.take(name, "p") for name in "abcd"] == [f"10.0.0.{first}" for first in (0, 64, 128, 192)]
    with pytest.raises(InputError, match=r"every group that it may be in has given all of its host prefixes; remove a"):
        world.join("e")
    assert not verify(world.state)


def test_networks_of_one_topology_are_split_alike_and_a_host_is_in_all_of_them() -> None:
    nets = [network("four", "10.0.0.0/24"), network("six", "fd00::/64", order=1)]
    world = World(layout(nets, split("t", ["four", "six"], leaf(rack="1"), leaf(rack="2"))))
    world.join("h", rack="2")
    assert world.take("h", "p") == "10.0.0.128 fd00::8000:0:0:0"


def test_a_fixed_host_is_there_from_the_start_and_its_group_takes_no_other() -> None:
    world = World(ZONES)
    assert world.state.hosts["n1"].addresses == (ip_address("10.9.0.11"),)
    assert world.take("n1", "p", tenant="ci") == "192.168.200.0"
    world.join("other", zone="z1", rack="r1")
    assert [each.network for each in world.state.hosts["other"].places] == ["prod"]


def test_a_fixed_host_that_starts_with_labels_gets_its_other_places_too() -> None:
    world = World(ZONES)
    world.do(place.join_again(world.state, "n1", labels({"zone": "z1", "rack": "r2"}), (ip_address("10.9.0.11"),)))
    assert [each.network for each in world.state.hosts["n1"].places] == ["lab", "prod"]
    with pytest.raises(
        InputError, match=r"Host n1: a topology lists it with address 10\.9\.0\.11; mend one of the two"
    ):
        place.join_again(world.state, "n1", (), (ip_address("10.9.0.99"),))


def test_names_and_addresses_of_hosts_are_their_own() -> None:
    world = World(RACKS)
    marks = labels({"rack": "a"})
    world.do(place.join(world.state, "h", marks, (ip_address("192.0.2.1"),)))
    with pytest.raises(InputError, match="Host h: is here already; remove it first, or update its labels"):
        place.join(world.state, "h", marks)
    with pytest.raises(InputError, match=r"Host i: 192\.0\.2\.1 is the address of host h; each host needs its own"):
        place.join(world.state, "i", marks, (ip_address("192.0.2.1"),))
    with pytest.raises(InputError, match=r"Host name: is missing for 192\.0\.2\.2; add one"):
        place.join(world.state, "", marks, (ip_address("192.0.2.2"),))
    with pytest.raises(InputError, match="Host none: is not here; hosts are: h"):
        place.leave(world.state, "none", 0)


def test_labels_change_only_within_the_assignment() -> None:
    world = World(RACKS)
    world.join("h", rack="a")
    world.do(place.relabel(world.state, "h", labels({"rack": "a", "room": "3"})))
    assert dict(world.state.hosts["h"].labels) == {"rack": "a", "room": "3"}
    with pytest.raises(
        InputError, match=r"take it out of 172\.28\.0\.0/20 of network dc, which asks for rack=a; remove"
    ):
        place.relabel(world.state, "h", labels({"rack": "b"}))


def test_a_network_with_a_node_selector_takes_only_those_hosts_and_joins_them_later() -> None:
    world = World(layout([network("all", "10.0.0.0/24"), network("fast", "10.1.0.0/24", nodes=SSD)]), "slow", "fast")
    assert [each.network for each in world.state.hosts["slow"].places] == ["all"]
    world.do(place.relabel(world.state, "fast", labels({"disk": "ssd"})))
    assert [each.network for each in world.state.hosts["fast"].places] == ["all", "fast"]
    with pytest.raises(InputError, match=r"out of 10\.1\.0\.0/24 of network fast, which asks for disk=ssd"):
        place.relabel(world.state, "fast", ())


def test_joining_again_changes_nothing_that_is_the_same() -> None:
    world = World(RACKS)
    world.join("h", rack="a")
    assert place.join_again(world.state, "h", labels({"rack": "a"}), ()) == Change()


def test_many_hosts_fill_the_racks_of_three_zones_evenly() -> None:
    zones = [
        Group(
            name=f"z{zone}", assignment=labels({"zone": str(zone)}), groups=tuple(leaf(rack=str(r)) for r in range(20))
        )
        for zone in range(3)
    ]
    world = World(layout([network("n", "10.0.0.0/8")], split("n", ["n"], *zones)))
    for number in range(1200):
        world.join(f"h{number}", zone=str(number % 3), rack=str(number // 3 % 20))
    assert set(world.state.trees["n"].hosts.values()) == {20}


def test_a_state_without_an_open_group_says_what_to_write() -> None:
    world = World(layout([network("n", "10.0.0.0/24")], split("n", ["n"], Group(spare=True))))
    with pytest.raises(
        InputError, match="no group is open for hosts; add a topology whose map has a group with groups"
    ):
        world.join("h")
