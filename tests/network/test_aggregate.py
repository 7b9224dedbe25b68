"""One route a group: every address finds its host by following them, and their number does not grow with hosts.

The data centre here is the tree itself: a router for each group, a link for each group of hosts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.ipam import Request, blocks, place
from vallum.ipam.plan import plan
from vallum.ipam.records import Change, Group, Network, Slots, Stray, Topology
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, padded
from vallum.model.address import Address
from vallum.model.address import Network as Cidr
from vallum.model.objects import PodId
from vallum.model.selector import labels
from vallum.network.aggregate import Member, Way, members_of, ways

UP = "up"
LEVELS = st.lists(st.integers(1, 3), min_size=1, max_size=3)


@dataclass(frozen=True)
class Centre:
    """A state, where each host is, and who has which address."""

    state: State
    paths: dict[str, Slots]
    pods: dict[Address, str]
    hosts: dict[str, "Table"] = field(default_factory=dict)
    routers: dict[Slots, "Table"] = field(default_factory=dict)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        return members_of(self.state)

    def at_router(self, here: Slots) -> list[Way]:
        """What the router of a group holds; the rest goes up."""

        def towards(host: str) -> str:
            path = self.paths[host]
            if path[: len(here)] != here:
                return UP
            return host if path == here else self.router(path[: len(here) + 1])

        inner = [Member(each.name, self.below(each.groups, here), each.ranges) for each in self.members]
        return [way for way in ways(inner, towards) if way.hop != UP]

    def at_host(self, name: str) -> tuple[Way, ...]:
        """What a host holds."""
        here = self.paths[name]

        def towards(host: str) -> str | None:
            if host == name:
                return None
            return host if self.paths[host] == here else UP

        return ways(self.members, towards)

    def below(self, groups: tuple[Cidr, ...], here: Slots) -> tuple[Cidr, ...]:
        depth = len(groups) // len(self.state.networks)
        chains = [groups[at : at + depth] for at in range(0, len(groups), depth)]
        return tuple(each for chain in chains for each in chain[len(here) :])

    @staticmethod
    def router(path: Slots) -> str:
        return "/".join(map(str, path))

    def delivered(self, source: str, address: Address) -> str:
        """The host at which a packet ends, `nowhere`, or `round`."""
        if source not in self.hosts:
            self.hosts[source] = Table(self.at_host(source))
        found = self.hosts[source].longest(address)
        if found is not None and found.hop != UP:
            return found.hop
        here = self.paths[source]
        seen = set()
        while here not in seen:
            seen.add(here)
            found = self.table(here).longest(address)
            if found is not None and found.hop in self.paths:
                return found.hop
            if found is not None:
                here = tuple(map(int, found.hop.split("/")))
            elif not here or any(address in cidr for cidr in self.ranges(here)):
                return "nowhere"
            else:
                here = here[:-1]
        return "round"

    def table(self, here: Slots) -> "Table":
        if here not in self.routers:
            self.routers[here] = Table(self.at_router(here))
        return self.routers[here]

    def ranges(self, here: Slots) -> Iterator[Cidr]:
        return (tree.spots[here].cidr for tree in self.state.trees.values())


class Table:
    """Routes, found as a kernel finds them: the longest first."""

    def __init__(self, held: Sequence[Way]) -> None:
        self.held = held
        self._by_length: dict[tuple[int, int], dict[int, Way]] = {}
        for way in held:
            own = way.destination
            of_length = self._by_length.setdefault((own.version, own.prefixlen), {})
            of_length[int(own.network_address)] = way

    def longest(self, address: Address) -> Way | None:
        lengths = (length for version, length in sorted(self._by_length, reverse=True) if version == address.version)
        for length in lengths:
            shift = address.max_prefixlen - length
            found = self._by_length[address.version, length].get(int(address) >> shift << shift)
            if found is not None:
                return found
        return None


def take(state: State, change: Change) -> None:
    state.apply(change.stamped(state.revision + 1), state.revision + 1)


def centre(levels: Sequence[int], each: int, *, prefix: int | None = None, pods: int = 1, mask: int = 28) -> Centre:
    """So many groups a level, so many hosts a leaf, each with pods; dual stack. `prefix`: of a host, in IPv4."""

    def groups(depth: int) -> tuple[Group, ...]:
        leaf = depth + 1 == len(levels)
        below = () if leaf else groups(depth + 1)
        marks = [labels({f"level{depth}": str(slot)}) for slot in range(levels[depth])]
        return tuple(Group(assignment=mark, groups=below, host_prefix=prefix if leaf else None) for mark in marks)

    four = Network(name="four", cidr=ip_network("10.0.0.0/8"), block_mask=mask)
    six = Network(name="six", cidr=ip_network("fd00::/48"), block_mask=122, order=1)
    networks = (four,) if prefix else (four, six)
    tree = Topology(name="t", networks=tuple(network.name for network in networks), groups=padded(groups(0)))
    state = State()
    take(state, plan(state, Layout(networks, (tree,))).change)
    found: dict[Address, str] = {}
    paths: dict[str, Slots] = {}
    leaves = [spot for spot in state.trees["four"].leaves if spot.labels]
    for number in range(each * len(leaves)):
        spot, name = leaves[number % len(leaves)], f"host{number}"
        take(state, place.join(state, name, spot.labels))
        paths[name] = spot.path
        for pod in range(pods):
            change, lease = blocks.allocate(state, name, Request(f"{name}-{pod}", PodId("shop", name)), 0.0)
            take(state, change)
            found |= dict.fromkeys(lease.addresses, name)
    return Centre(state, paths, found)


@settings(deadline=None, max_examples=25)
@given(
    levels=LEVELS,
    each=st.integers(1, 3),
    pods=st.integers(0, 3),
    prefix=st.sampled_from([None, 24]),
)
def test_every_address_reaches_its_host_by_following_the_routes(
    levels: list[int], each: int, pods: int, prefix: int | None
) -> None:
    built = centre(levels, each, prefix=prefix, pods=pods, mask=31)
    for source in built.paths:
        for address, host in built.pods.items():
            assert host == source or built.delivered(source, address) == host


@settings(deadline=None, max_examples=25)
@given(
    levels=LEVELS,
    each=st.integers(1, 3),
    offset=st.integers(0, (1 << 24) - 1),
)
def test_an_address_that_nobody_has_never_goes_round(levels: list[int], each: int, offset: int) -> None:
    built = centre(levels, each)
    address = ip_address("10.0.0.0") + offset
    for source in built.paths:
        ended = built.delivered(source, address)
        assert ended == "nowhere" or any(address in own for own in built.members[list(built.paths).index(ended)].ranges)


@settings(deadline=None, max_examples=25)
@given(levels=LEVELS, each=st.integers(1, 3))
def test_no_route_can_be_left_out(levels: list[int], each: int) -> None:
    """Each range is the only way to somebody: without it, or with two of one direction as one, a packet is lost."""
    built = centre(levels, each)
    wanted = {path[:depth] for path in built.paths.values() for depth in range(len(path) + 1)}
    for held in (*map(built.at_router, wanted), *map(built.at_host, built.paths)):
        assert len({way.destination for way in held}) == len(held)
        used = {Table(held).longest(address): address for address in built.pods}
        for way in held:
            assert Table([other for other in held if other != way]).longest(used[way]) is None


def counts(built: Centre) -> tuple[int, int, int, int]:
    """Routes of one family: at the core, at a zone's router, at a host's, beyond its link."""
    of_four = [way for way in built.at_host("host0") if way.destination.version == 4]
    core, zone = (built.at_router(here) for here in ((), (0,)))
    rack = [way for way in built.at_router((0, 0)) if way.destination.version == 4]
    few = [sum(way.destination.version == 4 for way in held) for held in (core, zone)]
    return few[0], few[1], len(rack), sum(way.hop == UP for way in of_four)


@pytest.mark.parametrize("prefix", [None, 24])
def test_three_zones_of_twenty_racks_of_fifty_nodes_take_a_handful_of_routes(prefix: int | None) -> None:
    small, large = (centre((3, 20), each, prefix=prefix) for each in (2, 50))
    assert (len(small.paths), len(large.paths)) == (120, 3000)
    assert counts(small) == (3, 20, 2, 2 + 19)
    assert counts(large) == (3, 20, 50, 2 + 19)
    some = list(large.pods.items())[::101]
    assert all(large.delivered("host0", address) == host for address, host in some if host != "host0")


def test_a_group_whose_hosts_lie_in_two_directions_is_not_one_route() -> None:
    group, one, other = (ip_network(f"10.0.{net}") for net in ("0.0/16", "1.0/24", "2.0/24"))
    members = [Member("one", (group,), (one,)), Member("other", (group,), (other,))]
    assert ways(members, {"one": "left", "other": "left"}.get) == (Way(group, "left", "one", whole=True),)
    assert ways(members, {"one": "left", "other": "right"}.get) == (
        Way(one, "left", "one"),
        Way(other, "right", "other"),
    )


def test_a_neighbour_answers_for_its_own_ranges_alone() -> None:
    group, own = ip_network("10.0.0.0/16"), ip_network("10.0.1.0/24")
    assert ways([Member("one", (group,), (own,))], {"one": "one"}.get) == (Way(own, "one", "one"),)


def test_a_range_outside_of_its_hosts_groups_is_a_route_of_its_own() -> None:
    group, stray = ip_network("10.0.0.0/16"), ip_network("10.1.0.7/32")
    found = ways([Member("one", (group,), (ip_network("10.0.1.0/24"), stray))], {"one": "up"}.get)
    assert found == (Way(group, "up", "one", whole=True), Way(stray, "up", "one"))


def test_members_have_their_groups_their_blocks_as_few_ranges_and_their_strays() -> None:
    built = centre((2, 2), 1, pods=5, mask=31)
    stray = Stray(address=ip_address("10.200.0.1"), host="host0", owner="old")
    take(built.state, Change(puts=(stray,)))
    first = members_of(built.state)[0]
    assert list(map(str, first.groups)) == ["10.0.0.0/9", "10.0.0.0/10", "fd00::/49", "fd00::/50"]
    assert list(map(str, first.ranges)) == ["10.0.0.0/30", "10.0.0.4/31", "fd00::/122", "10.200.0.1/32"]
