"""The shim as a file that runs: the one shipped beside its source, else compiled now and kept in the user's cache.

No libc and no linking to anything, so that one C compiler makes it on any Linux and it runs on every other: some 11 kB.
What it ignores: compiling for another kind of machine.
"""

from pathlib import Path

from vallum.kernel import compiled
from vallum.kernel.compiled import Recipe

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


def shim(cache: Path | None = None) -> Path:
    """The path of the program. Raises KernelError when it must be compiled and cannot be, with the cure."""
    return SHIPPED if SHIPPED.exists() else compiled.cached(_recipe(), "shim-", "vallum", cache)


def compile_to(target: Path) -> None:
    """Compile, and put the result there as a whole. Raises KernelError."""
    compiled.compile_to(_recipe(), target)


def _recipe() -> Recipe:
    missing = "the CNI plugin must be compiled here and there is no C compiler"
    return Recipe("the CNI plugin", SOURCE, FLAGS, missing, others=tuple(FOLDER.glob("*.h")))
