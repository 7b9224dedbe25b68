"""A token bucket on a real link, as tc tells of it."""

import subprocess

import pytest

from inside import run_inside
from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.shaping import Bucket, shape, unshape

pytestmark = pytest.mark.packets


def told() -> str:
    return subprocess.run(["tc", "qdisc", "show", "dev", "v-a"], capture_output=True, text=True, check=True).stdout


def test_a_link_has_the_rate_that_it_was_given_last_and_none_after_it_is_taken_off():
    def piece() -> tuple[str, str, str, bool]:
        with Rtnetlink() as netlink:
            netlink.add_veth("v-a", "v-b", mac="02:00:00:00:00:05", peer_mac="02:00:00:00:00:06", mtu=1500)
            shape(netlink, "v-a", Bucket(375_000_000, 1 << 18, 7_500_000))
            first = told()
            shape(netlink, "v-a", Bucket(125_000_000, 1 << 18, 7_500_000))
            second = told()
            unshape(netlink, "v-a")
            third = told()
            try:
                unshape(netlink, "v-a")
            except RequestError:
                return first, second, third, True
            return first, second, third, False

    first, second, third, refused = run_inside(piece)
    assert "tbf" in first
    assert "rate 3Gbit" in first
    assert "rate 1Gbit" in second
    assert "tbf" not in third
    assert refused
