"""Where `vallum ipam` finds its store, and how a command decides on it: for good, or dry.

`opened` is the only place that knows which kinds of store there are; all others see the `Store` face. What it ignores:
what is decided.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Generic, Protocol

import click
from click.core import ParameterSource

from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.ipam.store import Decision, Result, Store
from vallum.model.errors import InputError

LEDGER = Path("/var/lib/vallum/ledger")

dry_run_option = click.option(
    "--dry-run", "dry", is_flag=True, help="Decide, and say what would change; change nothing."
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which store a command speaks of: that of a cluster, the usual one without a kubeconfig, or else a ledger."""

    ledger: Path
    kubeconfig: Path | None = None
    cluster: bool = False


class Opened(Store, Protocol):
    """A store, and what of it the commands may write: in a cluster what belongs to a node is its agent's."""

    def by_hand(self, host: str, cure: str) -> None:
        """Raise InputError with the cure where the host has an agent that alone changes what is the host's."""
        ...

    def ours(self, state: State, change: Change) -> Change:
        """The change without what agents do by themselves. Raises InputError where they would do otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """What was decided: the change that it makes, and the answer."""

    change: Change
    result: Result


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--ledger`, `--kubeconfig`, `--cluster`; the command gets `where`."""

    @click.option(
        "--ledger",
        type=click.Path(path_type=Path),
        default=LEDGER,
        show_default=True,
        envvar="VALLUM_LEDGER",
        show_envvar=True,
        help="The file that the agent keeps its addresses in.",
    )
    @click.option("--kubeconfig", type=click.Path(path_type=Path), help="Ask the API of this cluster instead.")
    @click.option("--cluster", is_flag=True, help="The same, of the cluster that kubectl asks; as its plugin always.")
    @wraps(command)
    def with_where(*words: Any, ledger: Path, kubeconfig: Path | None, cluster: bool, **options: Any) -> None:
        command(*words, where=_where(ledger, kubeconfig, cluster=cluster), **options)

    return with_where


def _where(ledger: Path, kubeconfig: Path | None, *, cluster: bool) -> Where:
    named = click.get_current_context().get_parameter_source("ledger") is ParameterSource.COMMANDLINE
    if named and (kubeconfig or cluster):
        raise InputError("--ledger", "is a file, and --kubeconfig or --cluster the API of a cluster; give one of them")
    by_kubectl = Path(sys.argv[0]).name.startswith("kubectl-") and not named
    return Where(ledger, kubeconfig, cluster or kubeconfig is not None or by_kubectl)


def opened(
    where: Where, *, create: bool = False, dry: bool = False, whole: bool = False
) -> AbstractContextManager[Opened]:
    """The store. `create`: a ledger that is not there is made; for a dry run somewhere else, and thrown away.

    `whole`: records of a cluster also where they do not fit together; the others of these commands refuse such.
    """
    if where.cluster:
        from vallum.cli.ipam.cluster import shared  # noqa: PLC0415 - aiohttp takes 0.1 s to load

        return shared(where.kubeconfig, whole=whole)
    from vallum.cli.ipam.local import local  # noqa: PLC0415 - SQLite takes 10 ms to load, which --help need not pay

    return local(where.ledger, create=create, dry=dry)


def decided(store: Store, decide: Decision[Result], *, dry: bool) -> Outcome[Result]:
    """Decide on the newest state; keep the change unless it is a dry run."""
    if dry:
        return Outcome(*decide(store.state()))
    return store.commit(lambda state: _with_change(*decide(state)))


def _with_change(change: Change, result: Result) -> tuple[Change, Outcome[Result]]:
    return change, Outcome(change, result)
