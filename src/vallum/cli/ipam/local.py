"""The store of one machine for `vallum ipam`: a ledger file, in which every record is the commands' to change.

What it ignores: what is decided.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vallum.ipam.ledger import Ledger
from vallum.ipam.records import Change
from vallum.ipam.state import State


class Local(Ledger):
    """Implements `store.Opened`."""

    def by_hand(self, host: str, cure: str) -> None:
        """See `Opened`: of any host."""

    def ours(self, state: State, change: Change) -> Change:  # noqa: ARG002 - all of it
        """See `Opened`."""
        return change


@contextmanager
def local(path: Path, *, create: bool, dry: bool) -> Iterator[Local]:
    """The ledger. `create`: one that is not there is made; for a dry run somewhere else, and thrown away."""
    if create and dry and not path.exists():
        with tempfile.TemporaryDirectory(prefix="vallum-") as folder, closing(Local(Path(folder) / "ledger")) as empty:
            yield empty
        return
    with closing(Local(path, create=create)) as ledger:
        yield ledger
