"""Ranges have one holder each; who comes second hears whose it is."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from vallum.model.address import Network
from vallum.network.claims import Claims


def nets(draw_from: tuple[int, ...] = (4, 6)) -> st.SearchStrategy[Network]:
    def cut(version: int, length: int, value: int) -> Network:
        base = {4: ("10.0.0.0", 24, 32), 6: ("fd00::", 120, 128)}[version]
        return ip_network(f"{ip_network(f'{base[0]}/{base[1]}')[value]}/{base[1] + length}", strict=False)

    return st.builds(cut, st.sampled_from(draw_from), st.integers(0, 8), st.integers(0, 255))


def test_a_range_inside_or_around_another_is_taken() -> None:
    claims = Claims()
    assert claims.taken(ip_network("10.0.0.0/24"), "a") is None
    assert claims.taken(ip_network("10.0.0.128/25"), "b") == (ip_network("10.0.0.0/24"), "a")
    assert claims.taken(ip_network("10.0.0.0/16"), "c") == (ip_network("10.0.0.0/24"), "a")
    assert claims.taken(ip_network("10.0.1.0/24"), "d") is None


@given(st.lists(nets(), max_size=30))
def test_exactly_what_overlaps_nothing_before_it_is_noted(networks: list[Network]) -> None:
    claims, held = Claims(), list[Network]()
    for number, network in enumerate(networks):
        clash = any(each.version == network.version and each.overlaps(network) for each in held)
        assert (claims.taken(network, str(number)) is not None) == clash
        if not clash:
            held.append(network)
