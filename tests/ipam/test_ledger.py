"""The ledger on SQLite: killed at any instant, disks that fail, files that are damaged or not ours, many processes."""

import os
import random
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from inside import run_inside
from ipam.layouts import layout, network, same
from ipam.store_contract import SMALL, StoreContract, Stores, lay, take
from vallum.ipam import ExhaustedError, ledger
from vallum.ipam.ledger import Ledger
from vallum.ipam.pools import Pools
from vallum.ipam.verify import verify
from vallum.kernel import libc
from vallum.lab.bench.ipam_crash import HOST, Crashed, crash
from vallum.model.errors import InputError, KernelError

KILLS = int(os.environ.get("VALLUM_KILLS", "60"))
"""How often a process under load is killed; VALLUM_KILLS=1000 for the long run."""

READ_ONLY_NOW = 0x20 | 0x1  # MS_REMOUNT | MS_RDONLY of mount(2)
WIDE = layout([network("n", "10.0.0.0/22", 28)])


class Clock:
    """Seconds and boots that a test moves."""

    now, boot = 1000.0, "one"

    def open(self, folder: Path, **more: bool) -> Ledger:
        return Ledger(folder / "ledger", lambda: self.now, lambda: self.boot, **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stores(tmp_path: Path, clock: Clock) -> Iterator[Stores]:
    opened: list[Ledger] = []

    def one_more() -> Ledger:
        opened.append(clock.open(tmp_path))
        return opened[-1]

    yield one_more
    for each in opened:
        each.close()


class TestLedger(StoreContract):
    """The ledger keeps the contract."""


@pytest.fixture
def pools(stores: Callable[[], Ledger]) -> Pools:
    store = stores()
    lay(store, SMALL)
    found = Pools(store, "h")
    found.join()
    return found


# Time


def test_rest_survives_a_restart(pools: Pools, stores: Callable[[], Ledger], clock: Clock) -> None:
    assert take(pools, "a", "10.0.0.0") == "10.0.0.0"
    pools.free("a")
    clock.now += 10
    with pytest.raises(ExhaustedError, match=r"10\.0\.0\.0 was freed just now and rests for 20 s more"):
        take(Pools(stores(), "h"), "b", "10.0.0.0")
    clock.now += 20
    assert take(Pools(stores(), "h"), "b", "10.0.0.0") == "10.0.0.0"


def test_rest_begins_anew_after_a_boot_and_the_order_is_kept(
    pools: Pools, stores: Callable[[], Ledger], clock: Clock
) -> None:
    for number in range(16):
        take(pools, f"p{number}")
    for number in (7, 3, 5):
        pools.free(f"p{number}")
        clock.now += 20
    clock.boot, clock.now = "two", 3.0
    again = Pools(stores(), "h")
    assert [take(again, f"q{number}")[-1] for number in range(3)] == ["7", "3", "5"]


def test_after_a_boot_all_go_by_one_clock_from_the_last_time_that_was_noted(
    pools: Pools, stores: Callable[[], Ledger], clock: Clock
) -> None:
    take(pools, "p")
    pools.free("p")
    clock.boot, clock.now = "two", 7.0
    one = stores()
    clock.now = 9.0
    other = stores()
    assert (one.now(), other.now()) == (1002.0, 1002.0)


# Killed


def test_every_commit_waits_for_the_disk(stores: Callable[[], Ledger]) -> None:
    """No kill shows a power cut; SQLite promises to outlive one with these two (sqlite.org/pragma.html)."""
    found = [stores()._db.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")]
    assert found == [("wal",), (2,)]


def test_no_kill_at_any_instant_loses_what_was_acknowledged_or_gives_an_address_twice(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when it fails
    store = Ledger(tmp_path / "ledger")
    lay(store, WIDE)
    Pools(store, HOST).join()
    store.close()
    found = crash(tmp_path / "ledger", KILLS, seed)
    assert found == Crashed(kills=KILLS, answers=found.answers)
    assert found.answers >= KILLS


def test_eight_processes_at_once_give_no_address_twice(tmp_path: Path) -> None:
    store = Ledger(tmp_path / "ledger")
    lay(store, WIDE)
    for number in range(8):
        Pools(store, f"h{number}").join()
    store.close()
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            try:
                mine = Pools(Ledger(tmp_path / "ledger"), f"h{number}")
                for turn in range(30):
                    take(mine, f"p{turn}")
                    if turn % 3 == 0:
                        mine.free(f"p{turn}")
                os._exit(0)
            finally:
                os._exit(3)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    store = Ledger(tmp_path / "ledger")
    held = [address for _, _, addresses in store.state().holding() for address in addresses]
    assert len(held) == len(set(held)) == 8 * 20
    assert not verify(store.state())
    store.close()


# What others did


def test_one_that_is_far_behind_reads_everything_anew(
    stores: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "TOMBSTONES", 2)
    one, other = stores(), stores()
    lay(one, SMALL)
    for number in range(6):
        Pools(one, f"h{number}").join()
    assert len(other.state().hosts) == 6
    for number in range(6):
        Pools(one, f"h{number}").leave()
    assert same(other.state()) == same(one.state())
    assert not other.state().hosts


# Files that cannot be trusted


def test_a_ledger_that_is_not_there_is_made_only_for_who_wants_that(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(InputError, match="ledger: no ledger is here"):
        clock.open(tmp_path, create=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_only_just_begun_is_a_new_ledger(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "ledger").touch()
    store = clock.open(tmp_path)
    lay(store, SMALL)
    store.close()
    with sqlite3.connect(tmp_path / "other") as begun:
        begun.execute("PRAGMA journal_mode = WAL")
    begun.close()
    Ledger(tmp_path / "other").close()


def test_another_programs_database_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    with sqlite3.connect(tmp_path / "ledger") as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = (tmp_path / "ledger").read_bytes()
    with pytest.raises(InputError, match="is another program's database, and is left alone; name another file"):
        clock.open(tmp_path)
    assert (tmp_path / "ledger").read_bytes() == before


def test_a_newer_schema_is_refused_by_name(tmp_path: Path, clock: Clock) -> None:
    clock.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger") as newer:
        newer.execute("PRAGMA user_version = 7")
    newer.close()
    with pytest.raises(InputError, match=r"was written by a newer Vallum \(schema 7, this one knows 1\); run that one"):
        clock.open(tmp_path)


def test_a_text_file_is_refused_with_the_way_back(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "ledger").write_text("networks: []\n" * 100)
    with pytest.raises(
        KernelError,
        match=r"is damaged \(file is not a database\); move it aside, `vallum ipam import` .* and start the agent",
    ):
        clock.open(tmp_path)


def test_damage_anywhere_is_seen_or_harmless(tmp_path: Path, clock: Clock) -> None:
    """Bytes overwritten at many places: the ledger opens with exactly what was in it, or not at all."""
    store = clock.open(tmp_path)
    lay(store, WIDE)
    pools = Pools(store, "h")
    pools.join()
    for number in range(200):
        take(pools, f"p{number}")
    before = same(store.state())
    store.close()
    file = tmp_path / "ledger"
    whole, refused = file.read_bytes(), 0
    for start in range(0, len(whole), max(len(whole) // 150, 1)):
        file.write_bytes(whole[:start] + bytes(each ^ 0x15 for each in whole[start : start + 8]) + whole[start + 8 :])
        try:
            again = clock.open(tmp_path)
        except (KernelError, InputError):
            refused += 1
            continue
        assert same(again.state()) == before, f"damage at {start} was not seen"
        again.close()
    assert refused > 20


def test_a_file_that_is_replaced_under_a_running_process_gives_nothing(
    pools: Pools, tmp_path: Path, stores: Callable[[], Ledger]
) -> None:
    for file in tmp_path.iterdir():
        file.rename(file.with_name("aside" + file.name))
    with pytest.raises(KernelError, match="was removed or replaced while in use; restart what uses it"):
        take(pools, "p")
    stores()
    with pytest.raises(KernelError, match="was removed or replaced"):
        take(pools, "p")


# Disks


def test_a_full_disk_gives_nothing_and_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    """A limit on the size of files is what the disk says here."""
    store = clock.open(tmp_path)
    lay(store, WIDE)
    pools = Pools(store, "h")
    pools.join()
    given = take(pools, "before")
    before = same(store.state())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "ledger-wal").stat().st_size + 100, hard))
    try:
        for number in range(3):
            with pytest.raises(KernelError, match=r"nothing was changed"):
                take(pools, f"p{number}")
            with pytest.raises(KernelError, match=r"nothing was changed"):
                pools.free("before")
        assert same(store.state()) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert take(pools, "after") not in {given, ""}
    again = clock.open(tmp_path)
    assert same(again.state()) == same(store.state())
    assert len(list(again.state().holding())) == 2
    again.close()
    store.close()


def test_a_database_that_may_not_grow_says_that_the_disk_is_full(pools: Pools, stores: Callable[[], Ledger]) -> None:
    store = stores()
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    full = Pools(store, "h")

    def grow() -> None:
        for number in range(4000):
            full.adopt({"x" * number: (ip_address(f"10.0.0.{number % 16}"),)})

    with pytest.raises(KernelError, match="the disk is full; make room on it, nothing was changed"):
        grow()
    assert same(store.state()) == same(stores().state())
    assert take(pools, "p")


def full_and_read_only() -> tuple[list[str], bool, list[str], int]:
    """On a real file system of 256 KiB: filled up, room made again, then mounted read-only."""
    folder = Path("/tmp")  # the sandbox's own
    libc.mount("tmpfs", str(folder), kind="tmpfs", options="size=256k,mode=0700")
    store = Ledger(folder / "ledger")
    lay(store, WIDE)
    pools, errors, given = Pools(store, "h"), [], []
    pools.join()
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    try:
        given.extend(take(pools, f"p{number}") for number in range(1000))
    except KernelError as error:
        errors.append(str(error))
    (folder / "filler").unlink()
    given.append(take(pools, "after"))
    whole = same(store.state())
    store.close()
    again = Ledger(folder / "ledger")
    kept = same(again.state()) == whole and len(set(given)) == len(given)
    again.close()
    libc.mount("none", str(folder), flags=READ_ONLY_NOW)
    try:
        Ledger(folder / "ledger")
    except KernelError as error:
        errors.append(str(error))
    return errors, kept, given[-1:], len(given)


def test_a_disk_that_is_full_or_read_only_is_named_and_gives_nothing() -> None:
    errors, kept, last, count = run_inside(full_and_read_only)
    assert [error.partition(": ")[2] for error in errors] == [
        "the disk is full; make room on it, nothing was changed",
        "cannot be written, nothing was changed; is the disk mounted read-only, or are rights missing on its folder?",
    ]
    assert kept
    assert last == [str(ip_address("10.0.0.0") + count - 1)]
