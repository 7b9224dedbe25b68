"""Kernel settings under /proc/sys, of the network namespace the calling thread is in.

Keys are written with slashes (`net/ipv4/conf/all/rp_filter`), because interface names may contain dots.
"""

from pathlib import Path

from vallum.model.errors import KernelError

_ROOT = Path("/proc/sys")


def write(key: str, value: int | str) -> None:
    """Set a value. Raises KernelError."""
    try:
        (_ROOT / key).write_text(str(value))
    except OSError as error:
        raise KernelError(f"sysctl {key}={value}: {error.strerror}") from error


def read(key: str) -> str:
    """The value as text, without its newline. Raises KernelError."""
    try:
        return (_ROOT / key).read_text().rstrip("\n")
    except OSError as error:
        raise KernelError(f"sysctl {key}: {error.strerror}") from error
