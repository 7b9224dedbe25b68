"""The next address of a range: round and round, never one in use, one that rests only when nothing else is left."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.ipam.choose import REST, Range, choose, is_usable, usable
from vallum.model.address import Address

NETWORKS = [ip_network(text) for text in ("10.0.0.0/28", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/32", "fd00::/125")]


def given_out(network: str) -> list[Address]:
    return [address for address in ip_network(network) if is_usable(address, ip_network(network))]


@pytest.mark.parametrize(
    ("network", "first", "last", "count"),
    [
        ("10.0.0.0/24", "10.0.0.2", "10.0.0.254", 253),
        ("10.0.0.0/30", "10.0.0.2", "10.0.0.2", 1),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2),
        ("10.0.0.0/32", "10.0.0.0", "10.0.0.0", 1),
        ("fd00::/120", "fd00::2", "fd00::ff", 254),
    ],
)
def test_network_first_and_broadcast_address_are_kept_back(network: str, first: str, last: str, count: int) -> None:
    addresses = given_out(network)
    assert (addresses[0], addresses[-1], len(addresses)) == (ip_address(first), ip_address(last), count)


def test_the_search_begins_behind_the_last_address_and_goes_round() -> None:
    network = ip_network("10.0.0.0/29")
    found, last = [], None
    for _ in range(6):
        last = choose(Range(network, last=last), 0)
        found.append(str(last).rpartition(".")[2])
    assert found == ["2", "3", "4", "5", "6", "2"]


def test_an_address_that_rests_is_passed_over_while_another_is_free() -> None:
    network = ip_network("10.0.0.0/29")
    resting = {ip_address("10.0.0.2"): 100.0}
    assert choose(Range(network, freed=resting), 100 + REST - 0.1) == ip_address("10.0.0.3")
    assert choose(Range(network, freed=resting), 100 + REST) == ip_address("10.0.0.2")


def test_when_all_others_are_in_use_the_one_that_rests_longest_is_given() -> None:
    network = ip_network("10.0.0.0/29")
    held = {ip_address("10.0.0.2"), ip_address("10.0.0.5")}
    freed = {ip_address("10.0.0.3"): 12.0, ip_address("10.0.0.4"): 11.0, ip_address("10.0.0.6"): 13.0}
    assert choose(Range(network, held, freed), 20) == ip_address("10.0.0.4")


def test_a_range_without_a_free_address_gives_none() -> None:
    assert choose(Range(ip_network("10.0.0.0/30"), {ip_address("10.0.0.2")}), 0) is None


def test_a_large_range_is_not_walked() -> None:
    """2**64 addresses, and a thousand in use behind the last one: an answer at all shows it."""
    network = ip_network("fd00::/64")
    held = {network[offset] for offset in range(2, 1002)}
    assert choose(Range(network, held, last=network[1]), 0) == network[1002]
    assert choose(Range(network, held, last=network[2**64 - 1]), 0) == network[1002]


@given(st.data())
def test_what_is_chosen_is_usable_free_and_rested_if_any_such_is_there(data: st.DataObject) -> None:
    network = data.draw(st.sampled_from(NETWORKS))
    addresses = list(network)
    held = data.draw(st.sets(st.sampled_from(addresses)))
    freed = data.draw(st.dictionaries(st.sampled_from(addresses), st.floats(0, 100)))
    last = data.draw(st.none() | st.sampled_from([each for each in addresses if is_usable(each, network)]))
    chosen = choose(Range(network, held, freed, last), 100)
    free = [each for each in addresses if is_usable(each, network) and each not in held]
    rested = [each for each in free if each not in freed or freed[each] + REST <= 100]
    if rested:
        assert chosen in rested
        round_ = sorted(rested, key=lambda each: (last is not None and each <= last, each))
        assert chosen == round_[0]
    elif free:
        assert chosen in free
        assert freed[chosen] == min(freed[each] for each in free)
    else:
        assert chosen is None


def test_usable_ends_are_those_of_the_network() -> None:
    assert usable(ip_network("10.0.0.0/28")) == (int(ip_address("10.0.0.2")), int(ip_address("10.0.0.14")))
