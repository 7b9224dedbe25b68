"""The embedded store: SQLite, one file on one machine, several processes at once. What `commit` returned survives.

Each commit is one IMMEDIATE transaction with write-ahead log and full sync. A row carries the revision that wrote it
and a checksum, what was deleted leaves a tombstone, so a process reads only what the others did since it last looked.
It decides nothing, and a file that it cannot trust is refused, with the way back.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vallum.ipam.ranges import boot_id, boot_seconds
from vallum.ipam.records import Change, Key, Record, key_of
from vallum.ipam.rows import decode, encode, seal
from vallum.ipam.state import State
from vallum.ipam.store import Decision, Result
from vallum.model.errors import InputError, KernelError
from vallum.model.uncollected import uncollected

APPLICATION = 0x76616C6D
"""Marks the file as ours (PRAGMA application_id)."""

SCHEMA = 1
TOMBSTONES = 1000
"""Deletions that are remembered; a process that is further behind reads everything anew."""

_WAIT = 30.0  # seconds for which another process may hold the file

_TABLES = (
    """CREATE TABLE record (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, spec TEXT, seal INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX by_revision ON record (revision)",
    "CREATE INDEX tombstones ON record (revision) WHERE spec IS NULL",
    # swept: up to this revision deletions were forgotten; boot, base: see Ledger.now
    """CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, swept INTEGER NOT NULL,
        boot TEXT NOT NULL, base REAL NOT NULL
    ) STRICT""",
)

_BACK = (
    "move it aside, `vallum ipam import` your last `vallum ipam export`, and start the agent, which takes in what the "
    "kernel says is in use; nothing is handed out until then"
)
_READ_ONLY = (
    "cannot be written, nothing was changed; is the disk mounted read-only, or are rights missing on its folder?"
)


class Ledger:
    """Implements `ipam.store.Store`. Belongs to one thread; the file may be shared by any number of processes.

    Args:
        path: the file; its folder is made.
        clock: seconds since boot.
        boot: tells one run of the machine from another.
        create: make the file if it is not there.

    Raises InputError for a file that is not ours, newer than we are, or not there; KernelError for one that is damaged
    or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = boot_seconds,
        boot: Callable[[], str] = boot_id,
        *,
        create: bool = True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._base = 0.0
        if not create and not path.exists():
            raise InputError(str(path), "no ledger is here; give the one of the agent (--ledger), or import a topology")
        with self._failing():
            self._make_room()
            self._db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._open(boot())
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def now(self) -> float:
        """See `Store`: boot seconds, shifted so that they go on where the boot before stopped."""
        return self._base + self._clock()

    def state(self) -> State:
        """See `Store`."""
        with self._failing(), self._transaction("BEGIN"):
            self._catch_up()
        return self._state

    def commit(self, decide: Decision[Result]) -> Result:
        """See `Store`."""
        with self._failing():
            with self._transaction("BEGIN IMMEDIATE"):
                self._catch_up()
                change, result = decide(self._state)
                written = change.stamped(self._state.revision + 1)
                if change:
                    self._write(written, self._state.revision + 1)
            if change:
                self._state.apply(written, self._state.revision + 1)
        return result

    # The file

    def _make_room(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            folder = os.open(self._path.parent, os.O_RDONLY)  # so that the file itself survives a power cut
            os.fsync(folder)
            os.close(folder)

    def _open(self, boot: str) -> None:
        self._refuse_strangers()
        self._inode = self._path.stat().st_ino
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._damaged(found)
        with self._transaction("BEGIN IMMEDIATE"):
            if not self._one("PRAGMA application_id"):
                self._create(boot)
            self._load()
            self._start_clock(boot)

    def _refuse_strangers(self) -> None:
        owner, version = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        tables = self._one("SELECT count(*) FROM sqlite_schema")
        if owner != APPLICATION and (owner or version or tables):
            raise InputError(str(self._path), "is another program's database, and is left alone; name another file")
        if version > SCHEMA:
            text = f"was written by a newer Vallum (schema {version}, this one knows {SCHEMA}); run that one"
            raise InputError(str(self._path), text)

    def _create(self, boot: str) -> None:
        for statement in _TABLES:
            self._db.execute(statement)
        self._db.execute("INSERT INTO head VALUES (1, 0, 0, ?, 0.0)", (boot,))
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")

    def _load(self) -> None:
        head = self._db.execute("SELECT revision FROM head").fetchone()
        if head is None:
            raise self._damaged("its head is missing")
        rows = self._db.execute("SELECT kind, name, revision, spec, seal FROM record WHERE spec IS NOT NULL")
        with uncollected():
            self._state = State(self._read(rows), head[0])

    def _start_clock(self, boot: str) -> None:
        """Times of freed addresses are those of the boot before: go on from the last of them, so that it rests anew."""
        then, self._base = self._db.execute("SELECT boot, base FROM head").fetchone()
        if then == boot:
            return
        freed = [at for block in self._state.blocks.values() for at in block.freed.values()]
        self._base = max(freed, default=0.0) - self._clock()
        self._db.execute("UPDATE head SET boot = ?, base = ?", (boot, self._base))

    # Reading and writing, inside of a transaction

    def _catch_up(self) -> None:
        if self._path.stat().st_ino != self._inode:
            raise FileNotFoundError
        head = self._db.execute("SELECT revision, swept, base FROM head").fetchone()
        if head is None:
            raise self._damaged("its head is missing")
        revision, swept, self._base = head
        mine = self._state.revision
        if mine < swept or mine > revision:
            self._load()
        elif mine < revision:
            rows = self._db.execute(
                "SELECT kind, name, revision, spec, seal FROM record WHERE revision > ? ORDER BY revision", (mine,)
            ).fetchall()
            gone = [self._state.find(Key(kind, name)) for kind, name, _, spec, _ in rows if spec is None]
            puts = tuple(self._read(row for row in rows if row[3] is not None))
            self._state.apply(Change(puts, tuple(record for record in gone if record)), revision)

    def _read(self, rows: "Iterator[tuple[str, str, int, str, int]] | sqlite3.Cursor") -> Iterator[Record]:
        for kind, name, revision, spec, mark in rows:
            if mark != seal(kind, name, revision, spec):
                raise self._damaged(f"the checksum of {kind} {name} is wrong")
            yield decode(kind, name, revision, spec)

    def _write(self, change: Change, revision: int) -> None:
        rows: list[tuple[str, str, int, str | None, int]] = []
        for record in change.gone:
            key = key_of(record)
            rows.append((key.kind, key.name, revision, None, 0))
        for record in change.puts:
            key, spec = key_of(record), encode(record)
            rows.append((key.kind, key.name, revision, spec, seal(key.kind, key.name, revision, spec)))
        self._db.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("UPDATE head SET revision = ?", (revision,))
        if change.gone:
            self._sweep()

    def _sweep(self) -> None:
        old = self._db.execute(
            "SELECT revision FROM record WHERE spec IS NULL ORDER BY revision DESC LIMIT 1 OFFSET ?", (TOMBSTONES,)
        ).fetchone()
        if old is not None:
            self._db.execute("DELETE FROM record WHERE spec IS NULL AND revision <= ?", old)
            self._db.execute("UPDATE head SET swept = ?", old)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some errors end it themselves
                self._db.execute("ROLLBACK")
            raise

    def _one(self, query: str) -> int:
        (value,) = self._db.execute(query).fetchone()
        return int(value)

    # Errors

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Say whose fault an error is and what helps."""
        try:
            yield
        except FileNotFoundError:
            text = "was removed or replaced while in use; restart what uses it, and it is read anew"
            raise KernelError(f"{self._path}: {text}") from None
        except OSError as error:
            raise KernelError(f"{self._path}: {error.strerror}; nothing was changed") from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> KernelError:
        name = str(getattr(error, "sqlite_errorname", ""))
        for start, text in (
            ("SQLITE_CORRUPT", ""),
            ("SQLITE_NOTADB", ""),
            ("SQLITE_FULL", "the disk is full; make room on it, nothing was changed"),
            ("SQLITE_READONLY", _READ_ONLY),
            ("SQLITE_CANTOPEN", _READ_ONLY),
            ("SQLITE_BUSY", f"another process has held it for {_WAIT:.0f} s; end that one (fuser {self._path})"),
        ):
            if name.startswith(start):
                return KernelError(f"{self._path}: {text}") if text else self._damaged(str(error))
        return KernelError(f"{self._path}: {error} ({name}); nothing was changed, look at the disk (dmesg)")

    def _damaged(self, what: str) -> KernelError:
        return KernelError(f"{self._path}: is damaged ({what.splitlines()[0]}); {_BACK}")
