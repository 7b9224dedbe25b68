"""Compiles a C tool of the bench once per source and keeps it in the user's cache.

Why not ship a binary: it must run on whatever machine the bench runs on, and a C compiler is one package away.
"""

from pathlib import Path

from vallum.kernel import compiled
from vallum.kernel.compiled import Recipe

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")


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
    folder = Path(__file__).parent
    missing = f"the bench's {name} tool needs a C compiler and there is none"
    recipe = Recipe(f"the {name} tool", folder / f"{name}.c", FLAGS, missing, others=tuple(folder.glob("*.h")))
    return compiled.cached(recipe, "", name, cache)
