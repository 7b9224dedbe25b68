"""What this plane can tell: who else changed its table, and which packets it dropped."""

import re

from vallum.dataplane import Denial, Meddling
from vallum.dataplane.nftables.frame import LOG_GROUP, SPOOFED, UNKNOWN
from vallum.dataplane.nftables.program import TABLE
from vallum.kernel.nflog import Nflog
from vallum.kernel.nftwatch import INET, NftWatch, Transaction
from vallum.policy.ruleset import Way

_LOOK = re.compile(r"vallum (in|eg)[46]([or])$")


class TableEvents:
    """Transactions of others that touched a table of ours. `own`: port ids of this plane's own sockets."""

    def __init__(self, own: frozenset[int], table: str = TABLE, family: int = INET) -> None:
        self._own = own
        self._watch = NftWatch(table, family)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._watch.fileno()

    def drain(self) -> list[Meddling]:
        """What others did since the last call."""
        found = []
        for event in self._watch.drain():
            if not isinstance(event, Transaction):
                found.append(Meddling("", "more events than the buffer holds"))
            elif event.portid not in self._own:
                what = ", ".join(f"{count} x {name}" for name, count in event.what)
                found.append(Meddling(f"{event.program}[{event.pid}]", what))
        return found


class LoggedDenials:
    """The NFLOG records of the table's denials; records of other prefixes are not ours."""

    def __init__(self) -> None:
        self._log = Nflog(LOG_GROUP)

    @property
    def lost(self) -> int:
        """How often the kernel had no room for more records."""
        return self._log.lost

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._log.fileno()

    def drain(self) -> list[Denial]:
        """Dropped packets since the last call."""
        found = []
        for record in self._log.drain():
            if record.prefix == SPOOFED:
                found.append(Denial(Way.EGRESS, reply=False, packet=record.payload, spoofed=True))
            elif record.prefix == UNKNOWN:
                found.append(Denial(Way.EGRESS, reply=False, packet=record.payload, unknown=True))
            look = _LOOK.match(record.prefix)
            if look:
                way = Way.INGRESS if look.group(1) == "in" else Way.EGRESS
                found.append(Denial(way, look.group(2) == "r", record.payload))
        return found
