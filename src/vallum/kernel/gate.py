"""The gate's hands: the nft table that checks where tunnelled packets come from, and that masquerades.

It is a table of its own (`gate_table` says what is in it), so that a plane may come and go. Changes are one transaction
each: elements alone where that is enough, the whole table otherwise. What it ignores: policies, and who calls when.
"""

import re

from vallum.kernel.gate_table import TABLE, GateTable, change, difference, parse, render, whole
from vallum.kernel.nft import Nft, is_absent
from vallum.model.errors import KernelError
from vallum.model.wiring import Wiring

__all__ = ["TABLE", "Gate"]

_COUNTER = re.compile(r"counter (\S+) \{\s*packets (\d+)")
_Wish = tuple[object, ...]


class Gate:
    """Works in the network namespace where it first touches the kernel. Not for use by two threads at once.

    Raises InputError, then, where the library or the permission is missing.
    """

    def __init__(self) -> None:
        self._opened: Nft | None = None
        self._known = False
        self._held: GateTable | None = None
        self._wish: _Wish | None = None

    @property
    def portids(self) -> frozenset[int]:
        """Netlink port ids of ours: whose events are our own doing."""
        return self._nft.portids

    def close(self) -> None:
        """Free what it holds in this process; the table stays."""
        if self._opened is not None:
            self._opened.close()
            self._opened, self._known = None, False

    def apply(self, wiring: Wiring, *, doubt: bool = False) -> tuple[str, ...]:
        """Make the table be what the wiring's origins and masquerade ask for; none where they ask for nothing.

        Args:
            wiring: of which devices, origins and masquerade are looked at.
            doubt: somebody may have changed the table: it is read first.

        Returns:
            What others had made of it since the last call, in words; found only with `doubt`.

        Raises:
            KernelError: the kernel refuses, or does not hold what it was sent; the next call reads it first.
        """
        wish = (wiring.devices, wiring.origins, wiring.masquerade)
        if self._known and not doubt and wish == self._wish:
            return ()
        before, was_known = self._held, self._known
        self._known = False
        if doubt or not was_known:
            self._held = self.read()
        drift = difference(self._held, before) if was_known else ()
        wanted = render(wiring)
        if self._held != wanted:
            self._put(wanted)
        if doubt and drift and self.read() != wanted:
            raise KernelError(f"table inet {TABLE}: the kernel does not hold what was sent; it will be sent again")
        self._held, self._wish, self._known = wanted, wish, True
        return drift

    def read(self) -> GateTable | None:
        """What the kernel holds. Raises KernelError."""
        try:
            return parse(self._nft.run(f"list table inet {TABLE}"))
        except KernelError as error:
            if not is_absent(error):
                raise
            return None

    def counts(self) -> dict[str, int]:
        """Packets dropped since the table was first made, by reason (`gate_table.REASONS`); empty without a table."""
        try:
            listing = self._nft.run_stateful(f"list counters table inet {TABLE}")
        except KernelError as error:
            if not is_absent(error):
                raise
            return {}
        return {name: int(packets) for name, packets in _COUNTER.findall(listing)}

    def clear(self) -> bool:
        """Remove the table. Reports whether there was one. Raises KernelError."""
        self._known, self._held, self._wish = False, None, None
        try:
            self._nft.run(f"delete table inet {TABLE}")
        except KernelError as error:
            if not is_absent(error):
                raise
            return False
        return True

    @property
    def _nft(self) -> Nft:
        if self._opened is None:
            self._opened = Nft()
        return self._opened

    def _put(self, wanted: GateTable | None) -> None:
        if wanted is None:
            self.clear()
            return
        script = change(self._held, wanted) if self._held is not None else None
        self._nft.run(whole(wanted, self.counts()) if script is None else script)
