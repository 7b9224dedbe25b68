"""The bench of addresses measures what it says, judges by its limits, and sees what must not be when it happens."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vallum.ipam import blocks
from vallum.ipam.ledger import Ledger
from vallum.ipam.verify import verify
from vallum.lab.bench import ipam, ipam_crash, ipam_site
from vallum.lab.bench.ipam import (
    BARE,
    DURABLE_ALLOCATE,
    DURABLE_FREE,
    GROWTH,
    LARGE,
    LIMITS,
    NODES,
    PLACE,
    SIZES,
    Endured,
    Row,
    decided,
    durable,
    exponent,
    judged,
    opened,
    placed,
    text,
)
from vallum.lab.bench.ipam_crash import HOST, Crashed, counted, crash, work
from vallum.model.errors import InputError


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with 250 addresses in use on two hosts."""
    ipam_site.fill(tmp_path / "ledger", 250)
    return tmp_path / "ledger"


def row(what: str, size: int, value: float) -> Row:
    return Row(what, size, 9, value, value, value, value)


def full(share: float) -> list[Row]:
    """Rows of all sizes, each figure this share of its limit at the largest, in proportion at the others."""
    sizes = [(what, NODES if what == PLACE else SIZES) for what in LIMITS]
    return [row(what, size, LIMITS[what] * share * size / of[-1]) for what, of in sizes for size in of]


GOOD = [Endured("kills", 5, 9, 1.0, 0, 0, 0)]


def test_a_site_has_as_many_addresses_in_use_as_it_says_and_proves_itself(ledger: Path) -> None:
    store = Ledger(ledger, create=False)
    state = store.state()
    assert sum(len(held) for _, _, held in state.holding()) == 250
    assert len(state.hosts) == 2
    assert not verify(state)
    store.close()


def test_every_figure_of_a_ledger_is_measured_and_leaves_as_much_in_use(ledger: Path) -> None:
    assert len(opened(ledger, 3)) == 3
    found = decided(ledger, 20) | durable(ledger, 4)
    assert {what: len(times) for what, times in found.items()} == {
        "allocate": 20, "free": 20, DURABLE_ALLOCATE: 4, DURABLE_FREE: 4, BARE: 4,
    }  # fmt: skip
    assert all(each > 0 for times in found.values() for each in times)
    store = Ledger(ledger, create=False)
    assert sum(1 for _ in store.state().holding()) == 250
    assert not verify(store.state())
    store.close()


def test_nodes_are_spread_over_all_zones_and_racks() -> None:
    assert len(placed(60, 2)) == 2
    state = ipam_site.empty()
    ipam_site.settle(state, 120)
    assert sorted(state.trees["pods"].hosts.values()) == [2] * 60


@pytest.mark.parametrize(("share", "met"), [(0.9, True), (1.1, False)])
def test_the_largest_size_is_held_to_its_limit(share: float, met: bool) -> None:
    goals = judged(full(share), GOOD).goals
    assert {goal.met for goal in goals if goal.goal.split(",")[0] in LIMITS} == {met}
    assert len([goal for goal in goals if "100,000 in use" in goal.goal or "10,000 nodes" in goal.goal]) == len(LIMITS)


def test_growth_is_the_exponent_over_all_sizes() -> None:
    rows = [row("free", size, 3.0 * size**0.5) for size in SIZES]
    assert exponent(rows, "free") == pytest.approx(0.5)
    linear = {goal.goal: goal for goal in judged(full(0.5), GOOD).goals}
    assert {what: linear[f"growth of {what}"].met for what in GROWTH} == {
        what: limit >= 1 for what, limit in GROWTH.items()
    }


@pytest.mark.parametrize("fault", ["twice", "lost", "wrong"])
def test_one_address_that_goes_wrong_fails_the_bench(fault: str) -> None:
    (good,) = GOOD
    assert all(goal.met for goal in judged(full(0.5), [good]).goals if "kills" in goal.goal)
    broken = judged(full(0.5), [replace(good, **{fault: 1})])
    assert sum(not goal.met for goal in broken.goals if "kills" in goal.goal) == 1


def test_the_table_has_every_row_and_goal() -> None:
    found = judged(full(0.5), GOOD)
    drawn = text(found)
    assert all(each.what in drawn for each in (*found.rows, *found.endured))
    assert all(goal.goal in drawn for goal in found.goals)
    assert f"{LARGE:,} in use" in drawn


def test_the_status_is_one_where_a_goal_is_not_met(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    printed: list[str] = []
    for share, status in ((0.01, 1), (2.0, 1)):  # even where times are met, growth in proportion is not
        monkeypatch.setattr(ipam, "measured", lambda *_, share=share, **__: (full(share), GOOD))
        assert ipam.run(tmp_path, True, "json", printed.append) == status
    flat = [row(what, size, 0.01) for what in LIMITS for size in (NODES if what == PLACE else SIZES)]
    monkeypatch.setattr(ipam, "measured", lambda *_, **__: (flat, GOOD))
    assert ipam.run(tmp_path, True, "table", printed.append) == 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--folder: .*nowhere cannot be written to"):
        ipam.run(tmp_path / "nowhere", True, "table", print)


# Kills and crowds


def test_a_process_under_load_is_killed_and_the_ledger_stands(tmp_path: Path) -> None:
    ipam.lay(tmp_path / "ledger", [HOST])
    found = crash(tmp_path / "ledger", 5, 1)
    assert found == Crashed(kills=5, answers=found.answers)
    assert found.answers > 0


def forget(path: Path) -> None:
    """Take back behind everybody's back whatever is held."""
    store = Ledger(path)
    for host, owner, _ in list(store.state().holding()):
        store.commit(lambda state, host=host, owner=owner: (blocks.free(state, host, owner, 0.0), None))
    store.close()


def move(path: Path) -> None:
    """Give all that is held to others."""
    store = Ledger(path)
    held = list(store.state().holding())
    forget(path)
    for number, (host, _, _) in enumerate(held):
        asked = ipam_site.request(f"thief-{number}")
        store.commit(lambda state, host=host, asked=asked: blocks.allocate(state, host, asked, 100.0))
    store.close()


def spoil(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(("sabotage", "seen"), [(forget, "lost"), (move, "strangers"), (spoil, "refused")])
def test_a_ledger_that_breaks_its_word_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: Callable[[Path], None], seen: str
) -> None:
    path = tmp_path / "ledger"
    ipam.lay(path, [HOST])
    store = Ledger(path)
    for number in range(30):  # more than a few kills can free
        store.commit(lambda state, number=number: blocks.allocate(state, HOST, ipam_site.request(f"p{number}"), 0.0))
    store.close()
    open_it = ipam_crash._open

    def sabotaged(path: Path, found: Crashed) -> dict[str, str] | None:
        if found.kills == 5:
            sabotage(path)
        return open_it(path, found)

    monkeypatch.setattr(ipam_crash, "_open", sabotaged)
    assert getattr(crash(path, 5, 2), seen)


def test_an_address_that_somebody_has_is_noted_when_it_is_given_again() -> None:
    found = Crashed()
    known = {"a": "10.0.0.1", "b": "10.0.0.2"}
    ipam_crash._hear(["? b", "+ c 10.0.0.2", "+ d 10.0.0.1"], known, found)  # b may be free already, a is not
    assert found.twice == ["10.0.0.1 to d"]


def test_processes_at_once_are_compared_with_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ipam.lay(path, ["a", "b"])
    answers = [work(path, host, 6) for host in ("a", "b")]
    found = counted(path, answers, 6, time.perf_counter())
    assert (found.twice, found.lost, found.findings, len(found.held), found.commits) == ([], [], [], 8, 16)
    (owner, address), *_ = answers[0][0].items()
    wrong = counted(path, [*answers, ({"thief": address}, [])], 6, time.perf_counter())
    assert (wrong.twice, wrong.lost) == ([f"{address} to thief"], [f"thief {address}"])
    forget(path)
    assert f"{owner} {address}" in counted(path, answers, 6, time.perf_counter()).lost
