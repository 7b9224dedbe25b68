"""Programs as objects that load: the one shipped beside its source, else compiled now and kept in the user's cache.

An object serves every kernel and every kind of machine of one byte order. The name in the cache holds a hash of source
and flags, so that an old one is never mistaken for a new one; it is written aside and renamed. What it ignores: types
of the running kernel (CO-RE), which no program reads.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from vallum.model.errors import KernelError

FOLDER = Path(__file__).parent
CURE = "apt-get install clang libbpf-dev"
COMPILER = "clang"
# v2 has no 32-bit registers: the compiler copies pointers by them, which only CAP_PERFMON is allowed
FLAGS = ("-target", "bpf", "-mcpu=v2", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror")


def compiled(name: str, cache: Path | None = None) -> Path:
    """The path of the object of a program. Raises KernelError when it must be compiled and cannot be, with the cure."""
    source, shipped = FOLDER / f"{name}.bpf.c", FOLDER / f"{name}.bpf.o"
    if shipped.exists():
        return shipped
    digest = hashlib.blake2b("\0".join(FLAGS).encode() + source.read_bytes(), digest_size=12).hexdigest()
    target = (cache or _cache()) / f"bpf-{digest}" / shipped.name
    if not target.exists():
        compile_to(source, target)
    return target


def compile_to(source: Path, target: Path) -> None:
    """Compile, and put the result there as a whole. Raises KernelError."""
    if (compiler := shutil.which(COMPILER)) is None:
        raise KernelError(f"{source.name} must be compiled here and there is no {COMPILER}: {CURE}")
    # Debian and Ubuntu keep the headers of the machine in a folder that clang does not search for another target.
    here = f"-I/usr/include/{platform.machine()}-linux-gnu"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            fresh = Path(aside) / target.name
            _run([compiler, *FLAGS, here, "-c", "-o", str(fresh), str(source)], source)
            fresh.replace(target)
    except OSError as error:
        raise KernelError(f"cannot keep {target.name} in {target.parent}: {error.strerror or error}") from error


def _cache() -> Path:
    """$XDG_CACHE_HOME where it is set and absolute, as the XDG base directory rules say, else ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "vallum"


def _run(command: list[str], source: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{COMPILER} cannot compile {source.name}: {first.strip()} ({CURE})")
