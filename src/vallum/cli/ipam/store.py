"""Where `vallum ipam` finds its store, and how a command decides on it: for good, or dry.

`opened` is the only place that knows which kinds of store there are; all others see the `Store` face. What it ignores:
what is decided.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Generic

import click

from vallum.ipam.records import Change
from vallum.ipam.store import Decision, Result, Store

LEDGER = Path("/var/lib/vallum/ledger")

dry_run_option = click.option(
    "--dry-run", "dry", is_flag=True, help="Decide, and say what would change; change nothing."
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which store a command speaks of."""

    ledger: Path


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """What was decided: the change that it makes, and the answer."""

    change: Change
    result: Result


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--ledger`; the command gets `where`."""

    @click.option(
        "--ledger",
        type=click.Path(path_type=Path),
        default=LEDGER,
        show_default=True,
        envvar="VALLUM_LEDGER",
        show_envvar=True,
        help="The file that the agent keeps its addresses in.",
    )
    @wraps(command)
    def with_where(*words: Any, ledger: Path, **options: Any) -> None:
        command(*words, where=Where(ledger), **options)

    return with_where


@contextmanager
def opened(where: Where, *, create: bool = False, dry: bool = False) -> Iterator[Store]:
    """The store. `create`: a ledger that is not there is made; for a dry run somewhere else, and thrown away."""
    from vallum.ipam.ledger import Ledger  # noqa: PLC0415 - SQLite takes 10 ms to load, which --help need not pay

    if create and dry and not where.ledger.exists():
        with tempfile.TemporaryDirectory(prefix="vallum-") as folder, closing(Ledger(Path(folder) / "ledger")) as empty:
            yield empty
        return
    with closing(Ledger(where.ledger, create=create)) as ledger:
        yield ledger


def decided(store: Store, decide: Decision[Result], *, dry: bool) -> Outcome[Result]:
    """Decide on the newest state; keep the change unless it is a dry run."""
    if dry:
        return Outcome(*decide(store.state()))
    return store.commit(lambda state: _with_change(*decide(state)))


def _with_change(change: Change, result: Result) -> tuple[Change, Outcome[Result]]:
    return change, Outcome(change, result)
