"""Compiles the load tool once per source and keeps it in the user's cache.

Why not ship a binary: the tool must run on whatever machine the bench runs on, and a C compiler is one package
away. The name holds a hash of source and flags, so that an old binary is never mistaken for a new one; it is
written aside and renamed, so that two benches started at once do not meet half a file. Old ones stay.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from vallum.model.errors import KernelError

SOURCE = Path(__file__).with_name("load.c")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
COMPILERS = ("cc", "gcc", "clang")
CURE = "apt-get install gcc libc6-dev"


def load_tool(cache: Path | None = None) -> Path:
    """The path of the compiled load tool, compiled now if it is not there yet.

    Raises KernelError when there is no compiler or it refuses, with the cure.
    """
    source = SOURCE.read_bytes()
    digest = hashlib.blake2b(source + "\0".join(FLAGS).encode(), digest_size=12).hexdigest()
    target = (cache or _cache()) / digest / "load"
    if not target.exists():
        _compile(_compiler(), target)
    return target


def _cache() -> Path:
    """$XDG_CACHE_HOME where it is set and absolute, as the XDG base directory rules say, else ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "vallum"


def _compiler() -> str:
    for name in COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    raise KernelError(f"the bench's load tool needs a C compiler and there is none: {CURE}")


def _compile(compiler: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            fresh = Path(aside) / "load"
            _run([compiler, *FLAGS, "-o", str(fresh), str(SOURCE)])
            fresh.replace(target)
    except OSError as error:
        raise KernelError(f"cannot keep the load tool in {target.parent}: {error.strerror or error}") from error


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} cannot compile {SOURCE.name}: {first.strip()} ({CURE})")
