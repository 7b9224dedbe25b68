"""Offloads of a real link, read and switched."""

import pytest

from inside import run_inside
from vallum.kernel.offload import Offload, is_on, switch
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.errors import KernelError

pytestmark = pytest.mark.packets


def pair() -> None:
    with Rtnetlink() as netlink:
        netlink.add_veth("v-a", "v-b", mac="02:00:00:00:00:05", peer_mac="02:00:00:00:00:06", mtu=1500)


@pytest.mark.parametrize("feature", Offload)
def test_a_feature_is_as_it_was_switched(feature: Offload):
    def piece() -> list[bool]:
        pair()
        found = []
        for on in (False, True):
            switch("v-a", feature, on=on)
            found.append(is_on("v-a", feature))
        return found

    assert run_inside(piece) == [False, True]


def test_a_link_that_is_not_there_and_a_driver_that_will_not_are_named():
    def piece() -> list[str]:
        pair()
        switch("v-a", Offload.TX_CHECKSUM, on=False)  # which segmentation needs
        said = []
        for device in ("nowhere", "v-a"):
            try:
                switch(device, Offload.TSO, on=True)
            except KernelError as error:
                said.append(str(error))
        return said

    assert run_inside(piece) == [
        "TSO of nowhere: No such device",
        "switch TSO of v-a: its driver does not let it be on",
    ]
