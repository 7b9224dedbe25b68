"""Which address a pod gets: the order of networks and blocks, tenants, selectors, wishes, rest, strays, exhaustion."""

from ipaddress import ip_address, ip_network

import pytest

from ipam.layouts import FLAT, RACKS, World, layout, leaf, network, split
from vallum.ipam import ExhaustedError, blackouts, blocks
from vallum.ipam.choose import REST
from vallum.ipam.records import NOTHING, Group
from vallum.ipam.verify import verify
from vallum.model.errors import InputError
from vallum.model.selector import Operator, Requirement, Selector

TEAM = Selector((Requirement("team", Operator.IN, ("core",)),))


def test_own_blocks_come_first_then_emptied_ones_then_the_next_new_one() -> None:
    world = World(layout([network("n", "10.0.0.0/24", 30)]), "a", "b")
    assert [world.take("a", f"a{number}") for number in range(2)] == ["10.0.0.0", "10.0.0.1"]
    assert world.take("b", "b0") == "10.0.0.4"
    assert [world.take("a", f"a{number}") for number in range(2, 6)] == [f"10.0.0.{last}" for last in (2, 3, 8, 9)]
    world.free("b", "b0")
    world.now += REST
    assert world.take("a", "a6") == "10.0.0.10"  # its own block still has one
    assert world.take("a", "a7") == "10.0.0.11"
    assert world.take("a", "a8") == "10.0.0.5"  # b's, which is nobody's now: never used before used


def test_within_a_block_the_address_that_was_free_longest_goes_first() -> None:
    world = World(layout([network("n", "10.0.0.0/29")]), "h")
    for number in range(8):
        world.take("h", f"p{number}")
    for number in (6, 2, 4):
        world.free("h", f"p{number}")
        world.now += 40
    assert [world.take("h", f"q{number}") for number in range(3)] == ["10.0.0.6", "10.0.0.2", "10.0.0.4"]


def test_an_address_that_rests_waits_until_no_network_has_another() -> None:
    world = World(layout([network("one", "10.0.0.0/31"), network("two", "10.0.1.0/31", order=1)]), "h")
    world.take("h", "p0")
    world.take("h", "p1")
    world.free("h", "p1")
    world.now += 1
    world.free("h", "p0")
    assert [world.take("h", f"q{number}") for number in range(3)] == ["10.0.1.0", "10.0.1.1", "10.0.0.1"]
    world.now += REST
    assert world.take("h", "q3") == "10.0.0.0"


def test_tenants_of_a_network_never_go_elsewhere_unless_it_says_so() -> None:
    nets = [network("open", "10.0.0.0/24"), network("lab", "10.1.0.0/31", tenants=("ci",), order=1)]
    world = World(layout(nets), "h")
    assert world.take("h", "shop", tenant="shop") == "10.0.0.0"
    assert [world.take("h", f"ci{number}", tenant="ci") for number in range(2)] == ["10.1.0.0", "10.1.0.1"]
    with pytest.raises(ExhaustedError, match="network lab, group"):
        world.take("h", "ci2", tenant="ci")
    spill = World(layout([nets[0], network("lab", "10.1.0.0/31", tenants=("ci",), order=1, spill=True)]), "h")
    assert [spill.take("h", f"ci{number}", tenant="ci") for number in range(3)] == ["10.1.0.0", "10.1.0.1", "10.0.0.0"]


def test_a_network_for_others_tenants_is_no_network_and_the_error_says_so() -> None:
    world = World(layout([network("lab", "10.1.0.0/31", tenants=("ci", "qa"))]), "h")
    with pytest.raises(
        InputError, match=r"no network serves tenant shop here; closed to it: lab \(tenants ci, qa\); add"
    ):
        world.take("h", "p")


def test_blocks_per_tenant_are_an_option_of_the_network() -> None:
    shared, apart = network("n", "10.0.0.0/28", 30), network("n", "10.0.0.0/28", 30, blocks="tenant")
    one = World(layout([shared]), "h")
    assert [one.take("h", tenant, tenant=tenant) for tenant in ("red", "blue")] == ["10.0.0.0", "10.0.0.1"]
    two = World(layout([apart]), "h")
    assert [two.take("h", tenant, tenant=tenant) for tenant in ("red", "blue")] == ["10.0.0.0", "10.0.0.4"]
    assert two.take("h", "more", tenant="red") == "10.0.0.1"


def test_a_namespace_selector_opens_a_network_to_those_namespaces() -> None:
    world = World(
        layout([network("core", "10.0.0.0/24", namespaces=TEAM), network("rest", "10.1.0.0/24", order=1)]), "h"
    )
    assert world.take("h", "a", team="core") == "10.0.0.0"
    assert world.take("h", "b", team="web") == "10.1.0.0"


def test_a_pod_gets_one_address_of_each_family_or_none_at_all() -> None:
    world = World(layout([network("four", "10.0.0.0/31"), network("six", "fd00::/64", order=1)]), "h")
    assert [world.take("h", f"p{number}") for number in range(2)] == ["10.0.0.0 fd00::", "10.0.0.1 fd00::1"]
    before = world.used()
    with pytest.raises(ExhaustedError, match="network four"):
        world.take("h", "p2")
    assert world.used() == before


def test_several_networks_of_a_family_are_used_in_order() -> None:
    nets = [network("b", "10.0.1.0/31", order=0), network("a", "10.0.0.0/31", order=1)]
    world = World(layout(nets), "h")
    assert [world.take("h", f"p{number}") for number in range(4)] == ["10.0.1.0", "10.0.1.1", "10.0.0.0", "10.0.0.1"]


@pytest.mark.parametrize(
    ("cidr", "mask"), [("10.0.0.0/8", 29), ("fd00::/64", 122), ("fd00::/48", 112), ("fd00::/16", 64)]
)
def test_large_networks_are_not_walked(cidr: str, mask: int) -> None:
    """An answer at all shows it: half of the range is blacked out, and another part reserved."""
    whole = ip_network(cidr)
    halves = list(whole.subnets(1))
    world = World(layout([network("n", cidr, mask, reserved=(next(halves[1].subnets(3)),))]), "h")
    world.do(blackouts.black_out(world.state, halves[0]))
    assert ip_address(world.take("h", "p")) == halves[1][halves[1].num_addresses // 8]
    wished = whole[-5]
    assert world.take("h", "w", str(wished)) == str(wished)
    assert ip_address(world.take("h", "q")) == halves[1][halves[1].num_addresses // 8 + 1]


def test_a_subnet_keeps_its_ends_and_gateway_back() -> None:
    world = World(layout([network("vlan", "10.0.0.0/29", subnet=True)]), "h")
    assert [world.take("h", f"p{number}")[-1] for number in range(5)] == ["2", "3", "4", "5", "6"]
    named = network("vlan", "10.0.0.0/29", subnet=True, gateway=ip_address("10.0.0.6"))
    other = World(layout([named]), "h")
    assert [other.take("h", f"p{number}")[-1] for number in range(5)] == ["1", "2", "3", "4", "5"]


def test_wanted_addresses_are_given_if_they_can_be() -> None:
    world = World(layout([network("n", "10.0.0.0/24", 30), network("six", "fd00::/120", order=1)]), "a", "b")
    assert world.take("a", "p", "10.0.0.9") == "10.0.0.9 fd00::"
    assert world.take("a", "q", "fd00::3", "10.0.0.8") == "10.0.0.8 fd00::3"
    assert world.take("b", "r") == "10.0.0.0 fd00::40"
    assert world.take("a", "s") == "10.0.0.10 fd00::1"


@pytest.mark.parametrize(
    ("wanted", "error", "later"),
    [
        (["10.9.9.9"], "ips: 10.9.9.9 is not to be had on this host; ask for one of 10.0.0.0/24", False),
        (["10.0.0.1"], "ips: 10.0.0.1 is in use by p; ask for another", True),
        (["10.0.0.4"], "ips: 10.0.0.4 lies in block 10.0.0.4/30 of host b; ask for another", True),
        (["10.0.0.0"], "ips: 10.0.0.0 was freed just now and rests for 30 s more; try again then", True),
        (["10.0.0.200"], "ips: 10.0.0.200 is reserved or blacked out in network n; ask for another", False),
        (["10.0.0.3", "10.0.0.2"], "ips: 10.0.0.2 is not to be had: no network of its family serves this pod", False),
        (
            ["fd00::1"],
            "ips: fd00::1 is not to be had: no network of its family serves this pod, or two are asked",
            False,
        ),
        (["10.0.0.77"], "ips: 10.0.0.77 is in use though it was not given out; ask for another", True),
    ],
)
def test_wanted_addresses_that_cannot_be_had_are_refused_with_why(wanted: list[str], error: str, later: bool) -> None:
    world = World(layout([network("n", "10.0.0.0/24", 30, reserved=(ip_network("10.0.0.192/26"),))]), "a", "b")
    world.take("a", "old")
    world.take("a", "p")
    world.take("b", "q")
    world.take("b", "q77", "10.0.0.77")
    world.adopt("a", p=["10.0.0.1"], stray=["10.0.0.77"])
    world.free("b", "q77")
    before = world.used()
    with pytest.raises(InputError) as raised:
        world.take("a", "new", *wanted)
    assert str(raised.value).startswith(error)
    assert isinstance(raised.value, ExhaustedError) == later
    assert world.used() == before


def test_a_name_that_holds_an_address_already_is_refused() -> None:
    world = World(FLAT, "h")
    world.take("h", "p")
    with pytest.raises(InputError, match=r"address p: is here already on host h with 10\.40\.0\.0; free it first"):
        world.take("h", "p")
    world.join("i")
    assert world.take("i", "p") == "10.40.0.16"  # names are those of a host


def test_freeing_by_address_takes_it_only_from_the_owner_that_is_meant() -> None:
    world = World(FLAT, "h")
    address = ip_address(world.take("h", "p"))
    assert blocks.free_address(world.state, address, world.now, "somebody") == NOTHING
    assert blocks.free_address(world.state, ip_address("10.99.0.1"), world.now) == NOTHING
    world.do(blocks.free_address(world.state, address, world.now))
    assert not world.used()
    assert blocks.free_address(world.state, address, world.now) == NOTHING


def test_an_emptied_block_is_for_its_group_only() -> None:
    world = World(RACKS)
    for host, rack in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        world.join(host, rack=rack)
    world.take("a1", "p")
    world.free("a1", "p")
    world.now += REST
    assert world.take("b1", "q").startswith("172.28.16.")
    assert world.take("a2", "r") == "172.28.0.1"
    assert [block.host for block in world.state.blocks.values() if block.used] == ["a2", "b1"]


def test_a_host_without_its_network_says_that_it_must_join() -> None:
    world = World(FLAT)
    with pytest.raises(InputError, match="Host h: is not here; it must join before its pods get addresses"):
        world.take("h", "p")


def test_exhaustion_names_the_pool_the_group_what_is_free_where_and_what_helps() -> None:
    racks = (leaf("r1", rack="1"), leaf("r2", rack="2"), leaf("r3", rack="3"))
    world = World(layout([network("dc", "10.0.0.0/27", 30)], split("dc", ["dc"], *racks)))
    for host, rack in (("a", "1"), ("b", "1"), ("c", "2")):
        world.join(host, rack=rack)
    world.take("b", "q")
    world.take("c", "r")
    for number in range(4):
        world.take("a", f"p{number}")
    with pytest.raises(ExhaustedError) as raised:
        world.take("a", "p4")
    assert str(raised.value) == (
        "Host a: network dc, group r1 10.0.0.0/29: no address is left (5 in use, 3 in blocks of others); free "
        "elsewhere in it: 7 in r2 10.0.0.8/29, 8 in r3 10.0.0.16/29, "
        "8 in spare 10.0.0.24/29; what helps: a longer blockMask in "
        "a new network (blocks are /30), another network for this group, fewer pods on a"
    )


# What the node says


def test_what_the_node_uses_is_taken_in_and_what_it_does_not_use_is_freed() -> None:
    world = World(layout([network("n", "10.0.0.0/24", 30)]), "a", "b")
    world.take("a", "gone")
    world.take("b", "stays")
    world.adopt("a", known=["10.0.0.9"], node=["192.0.2.1", "::1"])
    assert world.used() == ["10.0.0.4", "10.0.0.9"]
    assert world.state.held("a", "known")
    assert not verify(world.state)
    assert world.take("a", "next") == "10.0.0.8"


def test_an_address_that_cannot_be_the_hosts_own_is_a_stray_and_is_never_handed_out() -> None:
    world = World(layout([network("n", "10.0.0.0/29", 30)]), "a", "b")
    assert world.take("b", "p") == "10.0.0.0"
    world.adopt("a", x=["10.0.0.2"])
    assert [world.take("b", f"q{number}") for number in range(2)] == ["10.0.0.1", "10.0.0.3"]
    (finding,) = verify(world.state)
    assert str(finding) == "address 10.0.0.2: host a uses it (x) though it lies outside of that host's blocks (stray)"
    world.adopt("a")
    assert world.take("b", "r") == "10.0.0.2"
    assert not verify(world.state)


def test_an_owner_that_the_node_knows_better_replaces_the_one_on_record() -> None:
    world = World(FLAT, "h")
    world.take("h", "old")
    world.adopt("h", new=["10.40.0.0"])
    assert (world.state.held("h", "old"), len(world.state.held("h", "new"))) == ((), 1)


def test_adopting_the_same_again_changes_nothing() -> None:
    world = World(layout([network("n", "10.0.0.0/29", 30)]), "a", "b")
    world.take("b", "p")
    world.adopt("a", x=["10.0.0.2"], y=["10.0.0.5"])
    held = {"x": (ip_address("10.0.0.2"),), "y": (ip_address("10.0.0.5"),)}
    assert blocks.adopt(world.state, "a", held, world.now) == NOTHING


def test_a_host_that_leaves_gives_its_addresses_back_to_rest() -> None:
    world = World(layout([network("n", "10.0.0.0/30", 30)], split("n", ["n"], Group())), "a")
    world.take("a", "p")
    world.adopt("a", p=["10.0.0.0"], x=["10.0.0.3"])
    world.leave("a")
    world.join("b")
    assert [world.take("b", f"q{number}") for number in range(4)] == [f"10.0.0.{last}" for last in (1, 2, 0, 3)]


def test_no_block_forgets_an_address_that_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FREED_KEPT", 1)
    world = World(layout([network("n", "fd00::/125", 125)]), "h")
    for number in range(8):
        world.take("h", f"p{number}")
    for number in (5, 6, 7):
        world.free("h", f"p{number}")
        world.now += 1
    assert [world.take("h", f"q{number}")[-1] for number in range(3)] == ["5", "6", "7"]


def test_a_huge_block_forgets_the_longest_free_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FREED_KEPT", 2)
    world = World(layout([network("n", "fd00::/64", 64)]), "h")
    for number in range(4):
        world.take("h", f"p{number}")
    for number in (2, 0, 1):
        world.free("h", f"p{number}")
        world.now += 40
    assert [world.take("h", f"q{number}") for number in range(2)] == ["fd00::2", "fd00::4"]


def test_what_is_taken_in_shares_its_block_with_no_tenant() -> None:
    world = World(layout([network("n", "10.0.0.0/28", 30, blocks="tenant")]), "h")
    world.take("h", "p", tenant="red")
    world.free("h", "p")
    world.adopt("h", unknown=["10.0.0.3"])
    assert world.take("h", "q", tenant="red") == "10.0.0.4"
