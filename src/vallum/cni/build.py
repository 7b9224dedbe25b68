"""The shim as a file that runs: the one shipped beside its source, else compiled now and kept in the user's cache.

No libc and no linking to anything, so that one C compiler makes it on any Linux and it runs on every other: some 11 kB.
The name in the cache holds a hash of sources and flags, so that an old binary is never mistaken for a new one; it is
written aside and renamed. What it ignores: compiling for another kind of machine.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from vallum.model.errors import KernelError

FOLDER = Path(__file__).with_name("shim")
SOURCE = FOLDER / "shim.c"
SHIPPED = FOLDER / "vallum"
"""Where a wheel has it (scripts/wheel_hook.py)."""

FLAGS = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"),
    # no run-time support of a libc that is not there; a loop that copies must not become a call of itself
    *("-fno-stack-protector", "-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables"),
    *("-fno-pie", "-no-pie", "-static", "-nostdlib", "-s"),
    "-Wl,--build-id=none,-z,noexecstack,-z,noseparate-code",
)
COMPILERS = ("cc", "gcc", "clang")
CURE = "apt-get install gcc libc6-dev"


def shim(cache: Path | None = None) -> Path:
    """The path of the program. Raises KernelError when it must be compiled and cannot be, with the cure."""
    if SHIPPED.exists():
        return SHIPPED
    digest = hashlib.blake2b("\0".join(FLAGS).encode(), digest_size=12)
    for file in sorted(FOLDER.glob("*.[ch]")):
        digest.update(file.read_bytes())
    target = (cache or _cache()) / f"shim-{digest.hexdigest()}" / "vallum"
    if not target.exists():
        compile_to(target)
    return target


def compile_to(target: Path) -> None:
    """Compile, and put the result there as a whole. Raises KernelError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            fresh = Path(aside) / "vallum"
            _run([_compiler(), *FLAGS, "-o", str(fresh), str(SOURCE)])
            fresh.replace(target)
    except OSError as error:
        raise KernelError(f"cannot keep the CNI plugin in {target.parent}: {error.strerror or error}") from error


def _cache() -> Path:
    """$XDG_CACHE_HOME where it is set and absolute, as the XDG base directory rules say, else ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "vallum"


def _compiler() -> str:
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise KernelError(f"the CNI plugin must be compiled here and there is no C compiler: {CURE}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} cannot compile {SOURCE.name}: {first.strip()} ({CURE})")
