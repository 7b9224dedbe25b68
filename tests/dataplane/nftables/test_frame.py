"""The source check's prefix: every local pod lies in it, and nft prints the rule as it was written."""

import re
from ipaddress import IPv4Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from inside import run_inside
from vallum.dataplane.nftables.frame import _SOURCE4, _source4
from vallum.kernel.nft import Nft
from vallum.model.address import pack

addresses = st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), min_size=1, max_size=8)
near = st.builds(
    lambda base, steps: [IPv4Address(base + step) for step in steps],
    st.integers(0, 2**32 - 300),
    st.lists(st.integers(0, 260), min_size=1, max_size=8),
)
CHECK = _SOURCE4


def prefix(rule: str):
    found = re.fullmatch(rf"(?:ip saddr (\S+/\d+) )?{re.escape(CHECK)}", rule)
    assert found, rule
    return ip_network(found.group(1) or "0.0.0.0/0")


@given(st.one_of(addresses, near))
def test_every_local_address_is_looked_up_whatever_the_prefix(local: list[IPv4Address]):
    network = prefix(_source4([pack(address) for address in local], CHECK))
    assert all(address in network for address in local)
    assert network.prefixlen <= 25


@given(near)
def test_the_prefix_is_no_wider_than_a_step_above_what_it_has_to_cover(local: list[IPv4Address]):
    network = prefix(_source4([pack(address) for address in local], CHECK))
    if network.prefixlen < 25:
        assert not any(all(address in half for address in local) for half in network.subnets())


def test_no_local_pods_need_no_prefix():
    assert _source4([], CHECK) == CHECK


def test_nft_lists_the_rule_as_it_was_written():
    widths = [(f"10.44.{256 - 2 ** max(0, 24 - length)}.0", length) for length in (25, 24, 23, 20, 17)]
    rules = [f"ip saddr {network}/{length} ip saddr @local" for network, length in widths]

    def work() -> str:
        nft = Nft()
        lines = ["add table inet probe", "add set inet probe local { type ipv4_addr; }", "add chain inet probe c"]
        nft.run("\n".join([*lines, *(f"add rule inet probe c {rule}" for rule in rules)]))
        return nft.run("list chain inet probe c")

    listed = run_inside(work)
    assert [line.strip() for line in listed.splitlines() if "saddr" in line] == rules
