"""One question as plain data: what is meant, and the line that says what is wrong with one that cannot be meant."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, pod, space
from vallum.analysis.probe import Ends, parse
from vallum.model.address import show
from vallum.model.errors import InputError
from vallum.model.objects import ICMP, ICMPV6, SCTP, TCP, UDP
from vallum.model.snapshot import snapshot_of

BASE = {"from": "a/x", "to": "a/y", "port": 80}
ENDS = Ends(
    snapshot_of(
        (
            NODE1,
            space("a"),
            pod("a/x", "10.44.1.1", "fd44:0:0:1::1"),
            pod("a/y", "10.44.1.2"),
            pod("a/six", "fd44:0:0:1::6"),
            pod("a/done", "10.44.1.9", finished=True),
            pod("a/host", host_network=True),
            pod("a/waiting"),
            pod("a/robbed", "10.44.1.7", created="2026-01-01T00:00:00Z"),
            pod("a/robber", "10.44.1.7", created="2026-01-02T00:00:00Z"),
        )
    )
)


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        ({"from": None}, '"from" must be "namespace/pod" or an address, got None'),
        ({"to": ""}, '"to" must be "namespace/pod" or an address, got \'\''),
        ({"to": 7}, '"to" must be "namespace/pod" or an address, got 7'),
        ({"family": 5}, '"family" must be 4 or 6, got 5'),
        ({"port": None}, '"port" must be 1 to 65535 for this protocol, got None'),
        ({"port": 0}, '"port" must be 1 to 65535 for this protocol, got 0'),
        ({"port": 65536}, '"port" must be 1 to 65535 for this protocol, got 65536'),
        ({"port": True}, '"port" must be 1 to 65535 for this protocol, got True'),
        ({"port": "80"}, "\"port\" must be 1 to 65535 for this protocol, got '80'"),
        ({"protocol": "HTTP"}, "\"protocol\" must be TCP, UDP, SCTP, ICMP or a number from 0 to 255, got 'HTTP'"),
        ({"protocol": 256}, '"protocol" must be TCP, UDP, SCTP, ICMP or a number from 0 to 255, got 256'),
        ({"protocol": None}, '"protocol" must be TCP, UDP, SCTP, ICMP or a number from 0 to 255, got None'),
        ({"type": 256}, '"type" must be 0 to 255, got 256'),
        ({"code": -1}, '"code" must be 0 to 255, got -1'),
        ({"source": "here"}, "\"source\" must be an address, got 'here'"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line_with_the_key_and_what_would_be_right(given_: dict[str, Any], line: str):
    with pytest.raises(InputError) as caught:
        parse(BASE | given_)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("end", "line"),
    [
        ("a/nobody", "there is no pod a/nobody"),
        ("b/x", "there is no pod b/x; did you mean a/x?"),
        ("a/done", "pod a/done has finished: it neither sends nor receives"),
        ("a/robbed", "pod a/robbed lost its address to a newer pod"),
        ("10.44.1", "'10.44.1' is neither namespace/pod nor an address"),
    ],
)
def test_an_end_that_is_not_there_is_said_by_name(end: str, line: str):
    with pytest.raises(InputError) as caught:
        ENDS.packet(parse(BASE | {"to": end}))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        ({"to": "a/y", "family": 6}, "a/x and a/y do not both have an address of IPv6"),
        ({"from": "a/y", "to": "a/six"}, "a/y and a/six do not both have an address of one family"),
    ],
    ids=str,
)
def test_ends_without_a_common_family_are_named(given_: dict[str, Any], line: str):
    with pytest.raises(InputError) as caught:
        ENDS.packet(parse(BASE | given_))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "family", "number"),
    [
        ("TCP", None, TCP),
        ("udp", None, UDP),
        ("SCTP", 6, SCTP),
        ("ICMP", None, ICMP),
        ("ICMP", 6, ICMPV6),
        (253, 4, 253),
    ],
)
def test_protocols_go_by_name_or_number(name: object, family: int | None, number: int):
    assert parse(BASE | {"protocol": name, "family": family}).protocol == number


def test_the_protocol_is_tcp_if_none_is_said():
    assert parse(BASE).protocol == TCP


def test_icmp_between_ends_of_ipv6_is_icmpv6_without_saying_so():
    packet = ENDS.packet(parse({"from": "a/x", "to": "a/six", "protocol": "ICMP"}))
    assert (packet.protocol, packet.icmp_type) == (ICMPV6, 128)


def test_the_first_addresses_that_fit_together_are_taken():
    assert show(ENDS.packet(parse(BASE | {"to": "a/six"})).source) == "fd44:0:0:1::1"
    assert show(ENDS.packet(parse(BASE)).source) == "10.44.1.1"


def test_an_address_of_a_pod_means_that_pod():
    assert str(ENDS.packet(parse(BASE | {"from": "10.44.1.1"})).sender) == "a/x"


def test_a_host_network_pod_has_its_nodes_addresses_and_is_no_sender():
    packet = ENDS.packet(parse(BASE | {"from": "a/host", "to": "a/six"}))
    assert (show(packet.source), packet.sender) == ("fd00:172:20::11", None)


def test_a_written_source_is_what_the_packet_bears():
    packet = ENDS.packet(parse(BASE | {"source": "192.0.2.1"}))
    assert (show(packet.source), str(packet.sender)) == ("192.0.2.1", "a/x")


def test_other_keys_are_handed_back():
    assert dict(parse(BASE | {"id": 7, "note": "kept"}).extra) == {"note": "kept"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda one: st.lists(one, max_size=2)
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text takes long on a busy machine
@given(st.dictionaries(st.sampled_from([*BASE, "protocol", "type", "code", "family", "source", "of", "x"]), _JSON))
def test_any_data_is_a_probe_or_an_input_error(data: dict[str, Any]):
    with suppress(InputError):
        packet = ENDS.packet(parse(data))
        assert packet.source != packet.destination or data["from"] == data["to"]
