"""The simple allocator: no address twice, freed ones rest, restarts and bad disks lose nothing that matters."""

import logging
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.ipam import ExhaustedError, Request
from vallum.ipam.choose import REST
from vallum.ipam.ranges import NodeRanges
from vallum.model.errors import InputError
from vallum.model.objects import PodId

POD = PodId("shop", "web")
BOTH = ("10.0.0.0/29", "fd00::/125")


class Clock:
    """Seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Allocators over one file, one after the other, on one clock."""

    def __init__(self, folder: Path, *ranges: str) -> None:
        self.ranges = tuple(ip_network(text) for text in ranges)
        self.file, self.clock, self.boot = folder / "state" / "ranges.json", Clock(), "one"
        self.restart()

    def restart(self) -> None:
        self.one = NodeRanges(self.ranges, self.file, self.clock, lambda: self.boot)

    def take(self, owner: str, *wanted: str) -> list[str]:
        request = Request(owner, POD, tuple(ip_address(text) for text in wanted))
        return [str(address) for address in self.one.allocate(request).addresses]


def test_a_pod_gets_one_address_of_each_family_in_the_order_of_the_ranges(tmp_path: Path) -> None:
    assert Bench(tmp_path, *BOTH).take("a") == ["10.0.0.2", "fd00::2"]
    assert Bench(tmp_path / "other", *reversed(BOTH)).take("a") == ["fd00::2", "10.0.0.2"]


def test_a_second_range_of_a_family_is_used_when_the_first_is_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/30", "10.0.1.0/30")
    assert [bench.take(owner) for owner in "ab"] == [["10.0.0.2"], ["10.0.1.2"]]


def test_a_rested_address_of_a_later_range_comes_before_a_resting_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/30", "10.0.1.0/30")
    bench.take("a")
    bench.one.free("a")
    assert bench.take("b") == ["10.0.1.2"]
    assert bench.take("c") == ["10.0.0.2"]


def test_a_freed_address_rests_across_a_restart_and_not_longer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("a")
    bench.one.free("a")
    bench.restart()
    assert [bench.take(owner)[0][-1] for owner in "bcdef"] == ["3", "4", "5", "6", "2"]
    bench.one.free("b")
    bench.clock.now += REST
    assert bench.take("g") == ["10.0.0.3"]


def test_after_a_boot_what_rested_rests_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("a")
    bench.one.free("a")
    bench.boot, bench.clock.now = "two", 5.0
    bench.restart()
    assert bench.one._freed == {ip_address("10.0.0.2"): 5.0}


def test_the_round_goes_on_after_a_restart_though_ranges_come_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *BOTH)
    bench.take("a")
    bench.ranges = ()
    bench.restart()
    bench.one.ranges = tuple(ip_network(text) for text in BOTH)
    assert bench.take("b") == ["10.0.0.3", "fd00::3"]


def test_what_was_read_back_is_in_use_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("lost")
    bench.one.adopt({"kept": (ip_address("10.0.0.3"),)})
    assert [bench.take(owner)[0][-1] for owner in "abcd"] == ["4", "5", "6", "2"]
    with pytest.raises(ExhaustedError):
        bench.take("e")


def test_what_an_adoption_does_not_list_rests_like_what_was_freed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("gone")
    bench.one.adopt({})
    assert bench.take("a") == ["10.0.0.3"]
    assert bench.one._freed == {ip_address("10.0.0.2"): 1000.0}


def test_freeing_twice_or_what_was_never_held_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("a")
    bench.one.free("a")
    bench.clock.now += 10
    for owner in ("a", "never"):
        bench.one.free(owner)
    assert bench.one._freed == {ip_address("10.0.0.2"): 1000.0}


def test_wanted_addresses_are_given_and_the_other_family_with_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *BOTH)
    assert bench.take("a", "10.0.0.5") == ["10.0.0.5", "fd00::2"]
    assert bench.take("b", "fd00::7", "10.0.0.3") == ["10.0.0.3", "fd00::7"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (("10.9.9.9",), "ips: 10.9.9.9 is not to be had on this node; ask for one of 10.0.0.2 to 10.0.0.6 and fd00::2"),
        (("10.0.0.1",), "ips: 10.0.0.1 is not to be had"),
        (("10.0.0.7",), "ips: 10.0.0.7 is not to be had"),
        (("10.0.0.3", "10.0.0.4"), "10.0.0.4 is not to be had on this node; .* at most one of each family"),
    ],
)
def test_addresses_that_cannot_be_had_here_are_refused_and_nothing_is_held(
    tmp_path: Path, wanted: tuple[str, ...], words: str
) -> None:
    bench = Bench(tmp_path, *BOTH)
    with pytest.raises(InputError, match=words) as error:
        bench.take("a", *wanted)
    assert not isinstance(error.value, ExhaustedError)
    assert bench.one._held == {}


def test_a_wanted_address_in_use_or_resting_may_be_asked_for_again_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("a", "10.0.0.4")
    with pytest.raises(ExhaustedError, match=r"ips: 10\.0\.0\.4 is in use on this node by a; ask for another"):
        bench.take("b", "10.0.0.4")
    bench.one.free("a")
    bench.clock.now += 10
    with pytest.raises(ExhaustedError, match=r"10\.0\.0\.4 was freed just now and rests for 20 s more"):
        bench.take("b", "10.0.0.4")
    bench.clock.now += 20
    assert bench.take("b", "10.0.0.4") == ["10.0.0.4"]


def test_a_full_range_is_named_with_what_would_help(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "10.0.0.0/30", "fd00::/125")
    bench.one.adopt({"elsewhere": (ip_address("192.0.2.1"),)})
    bench.take("a")
    with pytest.raises(ExhaustedError) as error:
        bench.take("b")
    assert str(error.value) == (
        "10.0.0.0/30: all 1 addresses of this node are in use (1 by pods); what helps: "
        "a larger --node-cidr-mask-size for new nodes, fewer pods on this one (kubelet maxPods)"
    )
    assert "b" not in bench.one._held.values()


def test_a_node_without_a_range_says_who_gives_one(tmp_path: Path) -> None:
    with pytest.raises(ExhaustedError, match=r"Node spec\.podCIDRs: .* --allocate-node-cidrs"):
        Bench(tmp_path).take("a")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": "one"}', '{"boot": "one", "freed": {"x": 1}, "last": {}}'])
def test_a_damaged_file_is_said_and_gone_on_without(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, "10.0.0.0/29")
    bench.take("a")
    bench.file.write_text(text)
    with caplog.at_level(logging.WARNING):
        bench.restart()
    assert "cannot be read" in caplog.text
    assert bench.take("b") == ["10.0.0.2"]


def test_a_disk_that_takes_nothing_stops_no_pod(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    bench = Bench(tmp_path, "10.0.0.0/29")
    with caplog.at_level(logging.WARNING):
        assert bench.take("a") == ["10.0.0.2"]
    assert "cannot be written" in caplog.text


ACTS = st.lists(
    st.tuples(st.sampled_from(["take", "take", "take", "free", "restart", "adopt", "wait"]), st.integers(0, 7)),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(ACTS)
def test_no_history_gives_an_address_twice_or_loses_one(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("ranges"), *BOTH)
    held: dict[str, tuple[Any, ...]] = {}
    for act, number in acts:
        owner = f"p{number}"
        bench.clock.now += 5 if act == "wait" else 0
        if act == "take" and owner not in held:
            if len(held) == 5:
                with pytest.raises(ExhaustedError):
                    bench.take(owner)
                continue
            found = tuple(ip_address(text) for text in bench.take(owner))
            assert {each.version for each in found} == {4, 6}
            assert not set(found) & {each for addresses in held.values() for each in addresses}
            held[owner] = found
        elif act == "free":
            bench.one.free(owner)
            held.pop(owner, None)
        elif act in {"restart", "adopt"}:
            if act == "restart":
                bench.restart()
            bench.one.adopt(held)
