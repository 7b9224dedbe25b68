"""What a route stands on is sent before it and taken away after it, and nothing goes before what takes its place."""

from ipaddress import ip_address, ip_interface, ip_network

from vallum.kernel import rtmessages
from vallum.kernel.differ import Difference, Own, held_by_us
from vallum.kernel.netlink import CREATE, EXCL, REPLACE
from vallum.kernel.steps import Needs, laid, swept
from vallum.model.wiring import Forward, Neighbour, Route

DEVICE = "vallum.vxlan4"
PEER, MAC = ip_address("172.20.0.12"), "02:00:00:00:00:02"
OWN = Own(DEVICE, ip_interface("10.44.1.0/32"))
NEIGHBOUR, FORWARD = Neighbour(DEVICE, PEER, MAC), Forward(DEVICE, MAC, PEER)
ROUTE = Route(ip_network("10.44.2.0/24"), PEER, DEVICE, onlink=True)
OTHER = Route(ip_network("10.44.3.0/24"), PEER)


def needs(*, added: bool) -> Needs:
    """All of a peer, to come or to go; the route to another range takes the place of what is there."""
    entries = [(OWN,), (NEIGHBOUR,), (FORWARD,)]
    if added:
        return Needs(tuple(Difference(added=each) for each in entries), Difference(added=(ROUTE,), replaced=(OTHER,)))
    return Needs(tuple(Difference(removed=each) for each in entries), Difference(removed=held_by_us([ROUTE])))


def test_a_route_comes_last_and_what_takes_a_place_before_what_is_new() -> None:
    assert [step.thing for step in laid(needs(added=True), {DEVICE: 7})] == [OWN, NEIGHBOUR, FORWARD, OTHER, ROUTE]


def test_a_route_goes_first() -> None:
    assert [step.thing for step in swept(needs(added=False), {DEVICE: 7})] == [ROUTE, FORWARD, NEIGHBOUR, OWN]


def test_what_is_on_a_device_that_is_not_there_is_not_sent() -> None:
    assert [step.thing for step in laid(needs(added=True), {})] == [OTHER]


def test_a_new_route_takes_nobodys_place() -> None:
    flags = {step.thing: step.message[2] for step in laid(needs(added=True), {DEVICE: 7})}
    assert flags[ROUTE] == CREATE | EXCL
    assert flags[OTHER] == flags[NEIGHBOUR] == CREATE | REPLACE


def test_a_route_that_goes_is_ours_and_of_its_metric() -> None:
    (step, *_) = swept(Needs((), Difference(removed=held_by_us([Route(ip_network("fd44::/64"), None, DEVICE)]))), {})
    told = rtmessages.read_route(bytes(16) + step.message[1])
    assert (told.destination, told.protocol, told.metric) == (ip_network("fd44::/64"), 86, 1024)


def test_an_operation_reads_as_a_person_would_say_it() -> None:
    operations = [step.operation for step in laid(needs(added=True), {DEVICE: 7})]
    assert operations == [
        "add address 10.44.1.0/32 dev vallum.vxlan4",
        "add neighbour 172.20.0.12 dev vallum.vxlan4 lladdr 02:00:00:00:00:02",
        "add fdb 02:00:00:00:00:02 dev vallum.vxlan4 dst 172.20.0.12",
        "replace route 10.44.3.0/24 via 172.20.0.12",
        "add route 10.44.2.0/24 via 172.20.0.12 dev vallum.vxlan4 onlink",
    ]
