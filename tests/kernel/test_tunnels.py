"""A tunnel device is read as it was made, and whatever makes it another device is seen."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from vallum.kernel import tunnels
from vallum.kernel.netlink import attribute
from vallum.kernel.rtmessages import link
from vallum.kernel.tunnels import BESIDE, LEARNING, LOCAL, MAC, MTU, OFFLOAD, RP_FILTER, UP
from vallum.model.wiring import Device, Ipip, Vxlan

HEADER = bytes(16)
FOUR = Vxlan("vallum.vxlan4", 86, 8472, "02:00:00:00:00:01", 1450, ip_address("172.20.0.11"))
SIX = replace(FOUR, name="vallum.vxlan6", local=ip_address("fd00::11"))
CLASSIC = Ipip("vallum.ipip", "kernel", 1480, ip_address("172.20.0.11"))


@pytest.mark.parametrize("device", [FOUR, SIX, CLASSIC], ids=lambda device: device.name)
def test_a_device_is_read_as_it_was_made(device: Device) -> None:
    fixed, live = tunnels.wanted(device)
    found = tunnels.read(HEADER + tunnels.made(device), offload=True)
    assert found.fixed == fixed
    assert found.live == {**live, RP_FILTER: None}, "which takes a message of its own"
    assert found.link.name == device.name


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(2, ip_address("192.0.2.1").packed, id="a place to flood to"),
        pytest.param(3, b"\7\0\0\0", id="bound to a link"),
        pytest.param(18, b"\0", id="without outer checksums"),
        pytest.param(23, b"", id="group policy"),
        pytest.param(25, b"\1", id="metadata"),
        pytest.param(27, b"\1", id="another protocol"),
    ],
)
def test_further_settings_make_it_another_device(kind: int, value: bytes) -> None:
    usual = attribute(1, b"\x56\0\0\0") + attribute(15, b"\x21\x18") + attribute(4, FOUR.local.packed)
    usual += attribute(7, b"\0") + attribute(18, b"\1")

    def device(data: bytes) -> object:
        info = attribute(18, attribute(1, b"vxlan\0") + attribute(2, data))
        return tunnels.read(HEADER + link(7, name=FOUR.name, info=info), offload=True).fixed

    assert device(usual) == tunnels.wanted(FOUR)[0]
    assert device(usual + attribute(kind, value)) == {**tunnels.wanted(FOUR)[0], BESIDE: True}


def test_only_what_is_to_change_is_in_the_message() -> None:
    """A MAC that is set to what it was loses every neighbour, and vxlan refuses an MTU beside its own settings."""
    assert list(tunnels.changed(FOUR, 7, frozenset({MTU}))) == [link(7, mtu=1450)]
    assert list(tunnels.changed(FOUR, 7, frozenset({UP, MAC}))) == [link(7, up=True, mac=FOUR.mac)]
    own, plain = tunnels.changed(FOUR, 7, frozenset({LEARNING, LOCAL, MTU}))
    assert plain == link(7, mtu=1450)
    assert tunnels.read(HEADER + own, offload=None).live[LOCAL] == FOUR.local
    assert list(tunnels.changed(FOUR, 7, frozenset({RP_FILTER, OFFLOAD}))) == []


def test_vxlan_devices_clash_by_vni_port_and_family_and_those_of_ipip_by_their_local_address() -> None:
    found = tunnels.read(HEADER + tunnels.made(replace(FOUR, name="other", local=ip_address("10.0.0.1"))), offload=None)
    assert tunnels.clashes(found, FOUR)
    assert not tunnels.clashes(found, SIX)
    assert not tunnels.clashes(found, replace(FOUR, vni=87))
    assert not tunnels.clashes(found, replace(FOUR, port=4789))
    classic = tunnels.read(HEADER + tunnels.made(replace(CLASSIC, name="tunl1")), offload=None)
    assert tunnels.clashes(classic, CLASSIC)
    assert not tunnels.clashes(classic, replace(CLASSIC, local=ip_address("172.20.0.12")))
