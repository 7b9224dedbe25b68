"""Compiles a C tool of the bench once per source and keeps it in the user's cache.

Why not ship a binary: it must run on whatever machine the bench runs on, and a C compiler is one package
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

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
COMPILERS = ("cc", "gcc", "clang")
CURE = "apt-get install gcc libc6-dev"


def load_tool(cache: Path | None = None) -> Path:
    """The path of the compiled load tool: requests, one connection each. See `_tool`."""
    return _tool("load", cache)


def stream_tool(cache: Path | None = None) -> Path:
    """The path of the compiled stream tool: one connection that sends as fast as it goes. See `_tool`."""
    return _tool("stream", cache)


def _tool(name: str, cache: Path | None) -> Path:
    """The path of a tool, compiled now if it is not there yet.

    Raises KernelError when there is no compiler or it refuses, with the cure.
    """
    source = Path(__file__).with_name(f"{name}.c")
    digest = hashlib.blake2b(source.read_bytes() + "\0".join(FLAGS).encode(), digest_size=12).hexdigest()
    target = (cache or _cache()) / digest / name
    if not target.exists():
        _compile(_compiler(name), source, target)
    return target


def _cache() -> Path:
    """$XDG_CACHE_HOME where it is set and absolute, as the XDG base directory rules say, else ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "vallum"


def _compiler(tool: str) -> str:
    for name in COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    raise KernelError(f"the bench's {tool} tool needs a C compiler and there is none: {CURE}")


def _compile(compiler: str, source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            fresh = Path(aside) / target.name
            _run([compiler, *FLAGS, "-o", str(fresh), str(source)])
            fresh.replace(target)
    except OSError as error:
        raise KernelError(
            f"cannot keep the {target.name} tool in {target.parent}: {error.strerror or error}"
        ) from error


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} cannot compile {Path(command[-1]).name}: {first.strip()} ({CURE})")
