"""libnftables through ctypes: text in, text out, one context for one thread. Floor 2, hands only.

The library is what `nft` itself runs on, so what is sent here can be typed there. ctypes releases the GIL.
"""

import ctypes
import errno
from pathlib import Path
from typing import Final

from vallum.kernel.nfnetlink import error_code, message, open_socket
from vallum.model.errors import InputError, KernelError

_LIBRARY = "libnftables.so.1"
_STATELESS: Final = 1 << 2
_NUMERIC_PROTO: Final = 1 << 7
_NUMERIC_PRIO: Final = 1 << 8
_NUMERIC: Final = _NUMERIC_PROTO | _NUMERIC_PRIO
_NETFILTER: Final = "12"
_SUBSYSTEM, _GETTABLE, _REQUEST_DUMP, _PATIENCE = 10, 1, 0x301, 5.0
MISSING = f"{_LIBRARY} is not installed; on Debian or Ubuntu: apt-get install libnftables1 nftables"

FORBIDDEN = (
    "not permitted here: it takes root, or CAP_NET_ADMIN in this network namespace; "
    "run this with sudo, or try `vallum lab`, which needs neither"
)


class Nft:
    """One libnftables context. Not for use by two threads at once.

    Raises InputError when the library or the permission is missing.
    """

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise InputError("nftables", MISSING) from error
        if not _permitted():
            raise InputError("nftables", FORBIDDEN)
        before = own_portids()
        self._lib.nft_ctx_new.restype = ctypes.c_void_p
        for function in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._lib, function).restype = ctypes.c_char_p
        self._lib.nft_ctx_set_dry_run.argtypes = (ctypes.c_void_p, ctypes.c_bool)
        self._ctx = ctypes.c_void_p(self._lib.nft_ctx_new(0))
        if not self._ctx:
            raise KernelError("nftables: no context; this kernel may lack nf_tables")
        self._lib.nft_ctx_output_set_flags(self._ctx, _STATELESS | _NUMERIC)
        self._lib.nft_ctx_buffer_output(self._ctx)
        self._lib.nft_ctx_buffer_error(self._ctx)

        self.run("list tables")  # opens the context's socket
        self.portids = own_portids() - before
        """Netlink port ids of this context: whose events are our own doing."""

    def run(self, script: str) -> str:
        """Run a script as one transaction and return what it prints. Raises KernelError with nft's first line."""
        code = self._lib.nft_run_cmd_from_buffer(self._ctx, script.encode())
        output = self._lib.nft_ctx_get_output_buffer(self._ctx) or b""
        error = self._lib.nft_ctx_get_error_buffer(self._ctx) or b""
        if code != 0:
            raise KernelError(_reason(error.decode(errors="replace")))
        return str(output.decode())

    def run_stateful(self, script: str) -> str:
        """As `run`, with what counters hold in what it prints."""
        self._lib.nft_ctx_output_set_flags(self._ctx, _NUMERIC)
        try:
            return self.run(script)
        finally:
            self._lib.nft_ctx_output_set_flags(self._ctx, _STATELESS | _NUMERIC)

    def check(self, script: str) -> None:
        """Let the kernel look at a script without doing it. Raises KernelError."""
        self._lib.nft_ctx_set_dry_run(self._ctx, True)
        try:
            self.run(script)
        finally:
            self._lib.nft_ctx_set_dry_run(self._ctx, False)

    def close(self) -> None:
        """Free the context."""
        if self._ctx:
            self._lib.nft_ctx_free(self._ctx)
            self._ctx = ctypes.c_void_p()


def _permitted() -> bool:
    """Asks for a list of tables by hand, because the library writes its own complaint to stderr."""
    with open_socket() as sock:
        sock.settimeout(_PATIENCE)
        sock.send(message(_SUBSYSTEM, _GETTABLE, _REQUEST_DUMP, 0, b""))
        return error_code(sock.recv(1 << 16)) != -errno.EPERM


def own_portids() -> frozenset[int]:
    """Port ids of this process's nfnetlink sockets: its open descriptors joined with /proc/net/netlink."""
    inodes = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:  # the listing's own descriptor is gone by now
            continue
    rows = [line.split() for line in Path("/proc/self/net/netlink").read_text(encoding="utf-8").splitlines()[1:]]
    return frozenset(int(row[2]) for row in rows if row[1] == _NETFILTER and row[9] in inodes)


def _reason(error: str) -> str:
    """The first complaint and the line it is about: `Could not process rule: Operation not permitted (add ...)`."""
    lines = error.splitlines()
    first = next((line for line in lines if "Error:" in line), error.strip() or "no reason given")
    about = next((line.strip() for line in lines[lines.index(first) + 1 :] if line.strip()), "") if lines else ""
    return f"nftables: {first.partition('Error: ')[2] or first}" + (f" ({about[:160]})" if about else "")


def is_absent(error: KernelError) -> bool:
    """Reports whether the error says that the named table or object is not there."""
    return "No such file or directory" in str(error)
