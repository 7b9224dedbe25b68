"""Blackouts: exact to lift, larger ones replace smaller ones, and what is in use drains."""

from ipaddress import ip_network

import pytest

from ipam.layouts import World, layout, network
from vallum.ipam import ExhaustedError, blackouts
from vallum.ipam.choose import REST
from vallum.ipam.records import NOTHING
from vallum.model.errors import InputError


@pytest.fixture
def world() -> World:
    return World(layout([network("n", "10.0.0.0/28", 30)]), "h")


def black_out(world: World, *cidrs: str) -> list[str]:
    for cidr in cidrs:
        world.do(blackouts.black_out(world.state, ip_network(cidr)))
    return sorted(map(str, world.state.blackouts))


def test_a_larger_one_replaces_the_smaller_and_a_smaller_adds_nothing(world: World) -> None:
    assert black_out(world, "10.0.0.4/31", "10.0.0.6/32", "10.0.0.12/30") == [
        "10.0.0.12/30",
        "10.0.0.4/31",
        "10.0.0.6/32",
    ]
    assert black_out(world, "10.0.0.4/30") == ["10.0.0.12/30", "10.0.0.4/30"]
    assert blackouts.black_out(world.state, ip_network("10.0.0.5/32")) == NOTHING


def test_what_is_in_use_stays_and_is_not_handed_out_again(world: World) -> None:
    first = world.take("h", "p")
    black_out(world, "10.0.0.0/30")
    assert world.used() == [first]
    world.free("h", "p")
    world.now += REST
    assert {world.take("h", f"q{number}")[-2:].strip(".") for number in range(12)} == {str(n) for n in range(4, 16)}
    with pytest.raises(ExhaustedError, match=r"4 reserved or blacked out.*what helps: lifting a blackout"):
        world.take("h", "more")


def test_lifting_takes_the_exact_range_and_gives_its_addresses_back(world: World) -> None:
    black_out(world, "10.0.0.0/29", "10.0.0.8/30", "10.0.0.12/30")
    with pytest.raises(ExhaustedError):
        world.take("h", "p")
    with pytest.raises(
        InputError, match=r"Blackout 10\.0\.0\.0/30: is not here; give one exactly as it is: 10\.0\.0\.0/29, "
    ):
        blackouts.lift(world.state, ip_network("10.0.0.0/30"))
    world.do(blackouts.lift(world.state, ip_network("10.0.0.0/29")))
    assert [world.take("h", f"p{number}") for number in range(2)] == ["10.0.0.0", "10.0.0.1"]


@pytest.mark.parametrize(
    ("cidr", "error"),
    [
        ("10.0.0.0/28", "is all of network n; name a part of it, or remove the network"),
        ("10.0.0.0/27", r"lies in no network; networks are: n \(10\.0\.0\.0/28\)"),
        ("fd00::/127", "lies in no network"),
    ],
)
def test_one_that_covers_a_network_or_lies_in_none_is_refused(world: World, cidr: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        blackouts.black_out(world.state, ip_network(cidr))
