"""Programs as objects that load: the one shipped beside its source, else compiled now and kept in the user's cache.

An object serves every kernel and every kind of machine of one byte order. What it ignores: types of the running kernel
(CO-RE), which no program reads.
"""

import platform
from pathlib import Path

from vallum.kernel.compiled import Recipe, cached
from vallum.kernel.compiled import compile_to as compile_recipe

FOLDER = Path(__file__).parent
CURE = "apt-get install clang libbpf-dev"
COMPILER = "clang"
# v2 has no 32-bit registers: the compiler copies pointers by them, which only CAP_PERFMON is allowed
FLAGS = ("-target", "bpf", "-mcpu=v2", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c")


def compiled(name: str, cache: Path | None = None) -> Path:
    """The path of the object of a program. Raises KernelError when it must be compiled and cannot be, with the cure."""
    source, shipped = FOLDER / f"{name}.bpf.c", FOLDER / f"{name}.bpf.o"
    return shipped if shipped.exists() else cached(_recipe(source, shipped.name), "bpf-", shipped.name, cache)


def compile_to(source: Path, target: Path) -> None:
    """Compile, and put the result there as a whole. Raises KernelError."""
    compile_recipe(_recipe(source, target.name), target)


def _recipe(source: Path, name: str) -> Recipe:
    # Debian and Ubuntu keep the headers of the machine in a folder that clang does not search for another target.
    here = f"-I/usr/include/{platform.machine()}-linux-gnu"
    missing = f"{source.name} must be compiled here and there is no {COMPILER}"
    return Recipe(name, source, (*FLAGS, here), missing, compilers=(COMPILER,), cure=CURE)
