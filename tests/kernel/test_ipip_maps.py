"""Entries of ipip's maps as bytes and in words: the longest prefix decides, and what is not IPv4 is left out."""

from ipaddress import ip_address, ip_network

from vallum.kernel import ipip_maps
from vallum.model.wiring import Carried, Origin

FIRST, SECOND = ip_address("172.20.2.1"), ip_address("172.20.3.1")
RANGE, SIX = ip_network("10.44.2.0/24"), ip_network("fd44::/64")


def words(allowed: list[Origin]) -> list[str]:
    return sorted(ipip_maps.say_origin(key, value) for key, value in ipip_maps.origins(allowed).items())


def test_a_way_has_the_prefix_before_its_address_and_leads_out_of_an_interface() -> None:
    ((key, value),) = ipip_maps.ways([Carried("d", RANGE, FIRST)], {FIRST: 7}).items()
    assert key[-4:] == bytes([10, 44, 2, 0])
    assert value[:4] == bytes([172, 20, 2, 1])
    assert ipip_maps.say_way(key, value) == "way to 10.44.2.0/24 by 172.20.2.1"


def test_what_no_interface_leads_to_or_is_of_ipv6_has_no_way() -> None:
    carried = [Carried("d", RANGE, FIRST), Carried("d", SIX, SECOND)]
    assert ipip_maps.ways(carried, {SECOND: 7}) == {}


def test_a_peer_is_known_once_however_many_ranges_it_has() -> None:
    allowed = [Origin("d", FIRST, RANGE), Origin("d", FIRST, ip_network("10.44.9.0/26")), Origin("d", FIRST, SIX)]
    assert words(allowed) == [
        "origin 10.44.2.0/24 from 172.20.2.1",
        "origin 10.44.9.0/26 from 172.20.2.1",
        "origin 172.20.2.1",
    ]


def test_a_peer_that_may_send_anything_is_more_than_known() -> None:
    assert words([Origin("d", FIRST, ip_network("0.0.0.0/0"))]) == ["origin 0.0.0.0/0 from 172.20.2.1"]


def test_a_counter_is_the_sum_of_all_processors() -> None:
    assert ipip_maps.summed((3).to_bytes(8, "little") + (4).to_bytes(8, "little")) == 7
