"""Small programs in C, compiled where they are first asked for and kept in the user's cache.

The name in the cache holds a hash of sources and flags, so that an old one is never mistaken for a new one; it is
written aside and renamed, so that two who ask at once do not meet half a file. Old ones stay. What it ignores: what is
compiled and how (`cni.build`, `kernel.bpf.build`, `lab.bench.build`), and other kinds of machine.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vallum.model.errors import KernelError

COMPILERS = ("cc", "gcc", "clang")
CURE = "apt-get install gcc libc6-dev"
"""Of programs for this machine's own processor."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a source becomes a program.

    Attributes:
        what: the program, as errors name it.
        source: what is compiled.
        flags: all but where the result goes.
        missing: what is wrong where there is no compiler, less the cure.
        others: files that the source includes.
        compilers: the first that is found is taken.
        cure: what installs a compiler and what it needs.
    """

    what: str
    source: Path
    flags: tuple[str, ...]
    missing: str
    others: tuple[Path, ...] = ()
    compilers: tuple[str, ...] = COMPILERS
    cure: str = CURE


def cached(recipe: Recipe, prefix: str, name: str, cache: Path | None = None) -> Path:
    """The path of a program of this name, in a folder of the cache that begins with `prefix`; compiled now if it is not
    there yet. Raises KernelError when it must be compiled and cannot be, with the cure.
    """
    digest = hashlib.blake2b("\0".join(recipe.flags).encode(), digest_size=12)
    for file in sorted((recipe.source, *recipe.others)):
        digest.update(file.read_bytes())
    target = (cache or _cache()) / f"{prefix}{digest.hexdigest()}" / name
    if not target.exists():
        compile_to(recipe, target)
    return target


def compile_to(recipe: Recipe, target: Path) -> None:
    """Compile, and put the result there as a whole. Raises KernelError."""
    compiler = next(filter(None, map(shutil.which, recipe.compilers)), None)
    if compiler is None:
        raise KernelError(f"{recipe.missing}: {recipe.cure}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as aside:
            fresh = Path(aside) / target.name
            _run([compiler, *recipe.flags, "-o", str(fresh), str(recipe.source)], recipe)
            fresh.replace(target)
    except OSError as error:
        raise KernelError(f"cannot keep {recipe.what} in {target.parent}: {error.strerror or error}") from error


def _cache() -> Path:
    """$XDG_CACHE_HOME where it is set and absolute, as the XDG base directory rules say, else ~/.cache."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path("~/.cache").expanduser()) / "vallum"


def _run(command: list[str], recipe: Recipe) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} cannot compile {recipe.source.name}: {first.strip()} ({recipe.cure})")
