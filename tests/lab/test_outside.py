"""Every ipBlock gets an end inside, in each exception and beside, wherever an address for it exists."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.lab.outside import choose, holdable
from vallum.model.objects import Block

POD_RANGE = ip_network("10.44.1.0/24")


def block(network: str, *excepts: str) -> Block:
    return Block(ip_network(network), tuple(map(ip_network, excepts)))


def chosen(one: Block, *owned: str) -> list[str]:
    return [str(found) for found in choose([one], frozenset(map(ip_address, owned)), (POD_RANGE,))]


def test_a_block_with_an_exception_has_three_ends() -> None:
    assert chosen(block("10.1.0.0/16", "10.1.5.0/24")) == ["10.1.0.1", "10.1.5.1", "10.2.0.0"]


def test_the_end_inside_lies_in_no_exception() -> None:
    assert chosen(block("10.1.0.0/16", "10.1.0.0/24")) == ["10.1.0.1", "10.1.1.0", "10.2.0.0"]


def test_the_whole_world_has_nothing_beside_it() -> None:
    assert chosen(block("0.0.0.0/0")) == ["198.51.100.77"]
    assert chosen(block("::/0")) == ["2001:db8::77"]


def test_a_single_address_is_its_own_end() -> None:
    assert chosen(block("203.0.113.9/32")) == ["203.0.113.9", "203.0.113.10"]
    assert chosen(block("2001:db8::9/128")) == ["2001:db8::9", "2001:db8::a"]


def test_an_owned_address_is_passed_over() -> None:
    assert chosen(block("203.0.113.9/32"), "203.0.113.9", "203.0.113.10") == ["203.0.113.11"]


def test_pod_ranges_are_used_only_where_the_block_has_nothing_else() -> None:
    assert chosen(block("10.44.0.0/16")) == ["10.44.0.1", "10.45.0.0"]
    assert chosen(block("10.44.1.0/25")) == ["10.44.1.1", "10.44.2.0"]


def test_the_last_block_before_multicast_has_its_neighbour_below() -> None:
    assert chosen(block("223.0.0.0/8")) == ["222.255.255.255", "223.0.0.1"]


@pytest.mark.parametrize("network", ["127.0.0.0/8", "224.0.0.0/4", "169.254.0.0/16", "fe80::/10", "ff00::/8"])
def test_no_special_address_is_held(network: str) -> None:
    assert all(one not in ip_network(network) for one in choose([block(network)], frozenset(), ()))
    assert not holdable(ip_network(network)[1], frozenset())


networks = st.one_of(
    st.builds(lambda value, bits: ip_network((value >> (32 - bits) << (32 - bits), bits)),
              st.integers(0, 2**32 - 1), st.integers(1, 32)),
    st.builds(lambda value, bits: ip_network((value >> (128 - bits) << (128 - bits), bits)),
              st.integers(2**32, 2**128 - 1), st.integers(1, 128)),
)  # fmt: skip


@given(networks, st.integers(0, 2**32))
def test_ends_are_free_and_on_the_right_side_of_the_border(network: object, pick: int) -> None:
    whole = ip_network(str(network))
    owned = frozenset({whole[pick % whole.num_addresses]})
    ends = choose([Block(whole)], owned, (POD_RANGE,))
    assert all(holdable(one, owned) for one in ends)
    assert len([one for one in ends if one not in whole]) == 1
    if whole.num_addresses > 1 and holdable(whole[0], frozenset()) and holdable(whole[-1], frozenset()):
        assert len([one for one in ends if one in whole]) == 1
