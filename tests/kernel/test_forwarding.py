"""Forwarding is switched on where it is off, and a node keeps the routes that router advertisements gave it."""

import pytest

from inside import run_inside
from vallum.kernel import forwarding, sysctl

pytestmark = pytest.mark.packets

IPV4, IPV6, ACCEPT = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/lo/accept_ra"


@pytest.mark.parametrize(("family", "key"), [(4, IPV4), (6, IPV6)])
def test_it_is_switched_on_once(family: int, key: str) -> None:
    def piece() -> tuple[bool, str, bool]:
        sysctl.write(key, 0)
        return forwarding.ensure(family), sysctl.read(key), forwarding.ensure(family)

    assert run_inside(piece) == (True, "1", False)


@pytest.mark.parametrize(("before", "after"), [(0, "0"), (1, "2"), (2, "2")])
def test_interfaces_that_accept_router_advertisements_go_on_doing_so(before: int, after: str) -> None:
    def piece() -> str:
        sysctl.write(IPV6, 0)
        sysctl.write(ACCEPT, before)
        forwarding.ensure(6)
        return sysctl.read(ACCEPT)

    assert run_inside(piece) == after
