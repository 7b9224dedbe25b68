"""The difference between a wish and what is held is the smallest one that leads there, and drift is named."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from vallum.kernel import differ, tunnels
from vallum.kernel.differ import Devices, Difference, Entry, Own, Thing
from vallum.kernel.rtmessages import Link
from vallum.kernel.rtnetlink import HeldRoute
from vallum.kernel.tunnels import BESIDE, KIND, LEARNING, MTU, UP, HeldDevice
from vallum.model.wiring import ROUTE_PROTOCOL, Forward, Ipip, Neighbour, Route, Vxlan

DEVICE = Vxlan("vallum.vxlan4", 86, 8472, "02:00:00:00:00:01", 1450, ip_address("172.20.0.11"))
SIX = replace(DEVICE, name="vallum.vxlan6", local=ip_address("fd00::11"))
CLASSIC = Ipip("vallum.ipip", "kernel", 1480, ip_address("172.20.0.11"))


def never(_: Thing) -> bool:
    return False


def always(_: Thing) -> bool:
    return True


def route(destination: str, gateway: str) -> Route:
    return Route(ip_network(destination), ip_address(gateway))


def held(wanted: Route, protocol: int = ROUTE_PROTOCOL, metric: int | None = None) -> HeldRoute:
    usual = 0 if wanted.destination.version == 4 else 1024
    return HeldRoute(wanted, protocol, usual if metric is None else metric)


def routes(wanted: set[Route], mine: list[HeldRoute], *others: HeldRoute, stood: bool = False) -> Difference:
    foreign = {one.route.destination: one for one in others}
    return differ.routes(frozenset(wanted), mine, foreign, always if stood else never)


def standing(device: Vxlan | Ipip, index: int = 7, **live: object) -> HeldDevice:
    """The device as it is read when it is as planned, but for these properties."""
    fixed, usual = tunnels.wanted(device)
    return HeldDevice(Link(device.name, index, "", up=True, running=True), fixed, {**usual, **live})


V4, V6 = route("10.44.2.0/24", "172.20.0.12"), route("fd44:0:0:2::/64", "fd00::12")
OTHER = route("10.44.3.0/24", "172.20.0.13")


# Routes


def test_what_stands_needs_nothing() -> None:
    assert routes({V4, V6}, [held(V4), held(V6)], stood=True) == Difference()


def test_a_missing_route_is_drift_only_if_it_stood_before() -> None:
    assert routes({V4}, []) == Difference(added=(V4,))
    assert routes({V4}, [], stood=True) == Difference(added=(V4,), drift=("10.44.2.0/24 via 172.20.0.12 was gone",))


def test_another_gateway_is_replaced_and_named() -> None:
    wrong = route("10.44.2.0/24", "172.20.0.99")
    words = "10.44.2.0/24 via 172.20.0.12 had become 10.44.2.0/24 via 172.20.0.99"
    assert routes({V4}, [held(wrong)], stood=True) == Difference(replaced=(V4,), drift=(words,))


def test_a_route_of_ours_that_nobody_wants_goes() -> None:
    assert routes(set(), [held(V4)], held(OTHER, protocol=3)).removed == (held(V4),)


def test_a_route_of_ours_under_another_metric_goes() -> None:
    odd = held(V4, metric=50)
    assert routes({V4}, [odd, held(V4)]) == Difference(removed=(odd,))


def test_an_equal_destination_of_another_program_is_a_problem_and_nothing_is_written() -> None:
    difference = routes({V4}, [], held(route("10.44.2.0/24", "172.20.0.7"), protocol=3))
    assert (difference.added, difference.replaced, difference.removed) == ((), (), ())
    (problem,) = difference.problems
    assert problem.subject == "10.44.2.0/24 via 172.20.0.12"
    assert "another program has 10.44.2.0/24 via 172.20.0.7 (protocol 3, metric 0)" in problem.text


def test_a_stated_device_must_be_the_held_one() -> None:
    wanted = Route(V4.destination, V4.gateway, "eth1")
    assert routes({wanted}, [held(replace(wanted, device="eth0"))]).replaced == (wanted,)
    assert routes({wanted}, [held(wanted)]) == Difference()


def test_what_a_route_says_beside_its_gateway_counts() -> None:
    wanted = Route(V4.destination, V4.gateway, DEVICE.name, True, ip_address("10.44.1.0"), 1450)
    for other in (
        {"onlink": False},
        {"source": None},
        {"mtu": None},
        {"mtu": 1400},
        {"source": ip_address("10.0.0.1")},
    ):
        assert routes({wanted}, [held(replace(wanted, **other))]).replaced == (wanted,), other
    assert routes({wanted}, [held(wanted)]) == Difference()
    assert routes({wanted}, [replace(held(wanted), plain=False)]).replaced == (wanted,)


# Entries

MACS = [f"02:00:00:00:00:{number:02x}" for number in range(4)]
REMOTES = [ip_address(f"172.20.0.{number}") for number in range(4)]
forwards = st.frozensets(st.builds(Forward, st.just("d"), st.sampled_from(MACS), st.sampled_from(REMOTES)))
neighbours = st.frozensets(st.builds(Neighbour, st.just("d"), st.sampled_from(REMOTES), st.sampled_from(MACS)))


def kernel(held: frozenset[Entry], difference: Difference) -> set[Entry]:
    """What the kernel holds afterwards: one entry a key, the last one."""
    found = {differ._key(one): one for one in held}
    for one in (*difference.added, *difference.replaced):
        found[differ._key(one)] = one
    for one in difference.removed:
        found.pop(differ._key(one))
    return set(found.values())


def one_a_key(entries: frozenset[Entry]) -> frozenset[Entry]:
    return frozenset({differ._key(one): one for one in entries}.values())


@given(st.one_of(st.tuples(forwards, forwards), st.tuples(neighbours, neighbours)))
def test_whatever_is_held_becomes_what_is_wanted_and_no_entry_is_touched_twice(
    both: tuple[frozenset[Entry], frozenset[Entry]],
) -> None:
    wanted, there = map(one_a_key, both)
    difference = differ.entries(wanted, there, (), always)
    assert kernel(there, difference) == wanted
    touched = [differ._key(one) for one in (*difference.added, *difference.replaced, *difference.removed)]
    assert len(touched) == len(set(touched)) == len(wanted ^ there) - len(difference.replaced)
    assert len(difference.drift) == len(difference.added) + len(difference.replaced)


def test_an_entry_that_is_there_in_another_form_is_replaced() -> None:
    wanted = Forward("d", MACS[0], REMOTES[0])
    assert differ.entries(frozenset({wanted}), frozenset(), (wanted,), never) == Difference(replaced=(wanted,))


def test_drift_of_an_entry_says_what_it_had_become() -> None:
    wanted, found = Neighbour("d", REMOTES[1], MACS[1]), Neighbour("d", REMOTES[1], MACS[2])
    (words,) = differ.entries(frozenset({wanted}), frozenset({found}), (), always).drift
    assert words == (
        "neighbour 172.20.0.1 dev d lladdr 02:00:00:00:00:01 had become "
        "neighbour 172.20.0.1 dev d lladdr 02:00:00:00:00:02"
    )


def test_an_address_that_nobody_planned_goes() -> None:
    mine, other = (Own("d", ip_interface(text)) for text in ("10.44.1.0/32", "9.9.9.9/32"))
    difference = differ.entries(frozenset({mine}), frozenset({mine, other}), (), never)
    assert difference == Difference(removed=(other,))


# Devices


def devices(wanted: set[Vxlan | Ipip], *there: HeldDevice, stood: bool = True) -> Devices:
    return differ.devices(frozenset(wanted), there, always if stood else never)


def test_devices_that_are_as_planned_are_left_alone() -> None:
    assert devices({DEVICE, SIX, CLASSIC}, standing(DEVICE), standing(SIX), standing(CLASSIC)) == Devices()


def test_a_device_that_is_gone_is_made_and_named() -> None:
    assert devices({DEVICE}) == Devices(made=(DEVICE,), drift=("device vallum.vxlan4 was gone",))
    assert devices({DEVICE}, stood=False).drift == ()


def test_a_live_property_is_set_and_what_it_had_become_is_said() -> None:
    found = devices({DEVICE}, standing(DEVICE, **{UP: False, MTU: 1400, LEARNING: True}))
    assert found.changed == ((DEVICE, 7, frozenset({UP, MTU, LEARNING})),)
    assert found.drift == ("device vallum.vxlan4 had become MTU 1400, learning on, down",)
    assert (found.made, found.cleared) == ((), ())


def test_a_fixed_property_takes_a_new_device() -> None:
    there = standing(replace(DEVICE, vni=7))
    found = devices({DEVICE}, there)
    assert (found.made, found.cleared) == ((DEVICE,), (there,))
    assert found.drift == ("device vallum.vxlan4 had become VNI 7",)


def test_a_link_of_another_kind_under_our_name_makes_way() -> None:
    there = HeldDevice(Link(DEVICE.name, 3, "", up=True, running=True), {KIND: "bridge"}, {})
    found = devices({DEVICE}, there)
    assert (found.made, found.cleared) == ((DEVICE,), (there,))
    assert found.drift == ("device vallum.vxlan4 had become a bridge",)


def test_a_device_that_floods_is_not_ours_whatever_else_fits() -> None:
    there = standing(DEVICE)
    flooding = replace(there, fixed={**there.fixed, BESIDE: True})
    assert devices({DEVICE}, flooding).cleared == (flooding,)


def test_a_device_that_nobody_wants_goes_last_unless_it_is_in_the_way() -> None:
    renamed, spare = standing(replace(DEVICE, name="vallum.old"), 3), standing(replace(SIX, name="vallum.spare"), 4)
    found = devices({DEVICE}, renamed, spare)
    assert (found.cleared, found.stale, found.made) == ((renamed,), (spare,), (DEVICE,))


def test_a_device_of_another_program_in_the_way_is_named_with_the_cure_and_left() -> None:
    theirs = standing(replace(DEVICE, name="flannel.1"))
    found = devices({DEVICE, SIX}, theirs, standing(SIX), stood=False)
    (problem,) = found.problems
    assert problem.subject == "device vallum.vxlan4"
    assert "device flannel.1 of another program has VNI 86 on port 8472 already" in problem.text
    assert "--vxlan-id" in problem.text
    assert (found.made, found.cleared, found.stale, found.blocked) == ((), (), (), (DEVICE,))


def test_links_that_are_not_named_as_ours_are_never_removed() -> None:
    assert devices(set(), standing(replace(DEVICE, name="vallum0"))) == Devices()


def test_a_pair_of_links_with_programs_is_left_to_those_who_load_them() -> None:
    pair = HeldDevice(Link("vallum.ipip", 3, "", up=True, running=True, peer=4), {KIND: "veth"}, {})
    assert devices({replace(CLASSIC, driver="bpf")}, pair) == Devices()
    assert devices(set(), pair) == Devices()


def test_the_kernels_ipip_makes_way_for_the_pair_of_its_name() -> None:
    there = standing(CLASSIC)
    assert devices({replace(CLASSIC, driver="bpf")}, there) == Devices(cleared=(there,))
