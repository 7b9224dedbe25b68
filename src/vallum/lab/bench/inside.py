"""Runs one function in a sandbox and brings its result out: whole, or the error that it ended with.

The result travels as JSON over a pipe, typed at the far end, so that nothing is shared with a process whose
namespaces are gone. What is ignored: progress, which goes to the inherited stderr.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from vallum.kernel import sandbox
from vallum.kernel.sandbox import Sandbox
from vallum.model.errors import InputError, KernelError

Result = TypeVar("Result")
_RUN = Path("/run")
_DONE, _INPUT, _KERNEL = "done", "input", "kernel"


class Spawn(Protocol):
    """`sandbox.spawn`, or what furnishes its sandbox."""

    def __call__(self, main: Callable[[], int], *, tie_to_parent: bool, keep: tuple[Path, ...] = ()) -> Sandbox:
        """The sandbox in which `main` runs."""
        ...


def in_sandbox(work: Callable[[], Result], kind: type[Result], needs: Path, spawn: Spawn = sandbox.spawn) -> Result:
    """What `work` returns, called as root of namespaces of its own. `needs`: a folder that it must see.

    Raises KernelError where namespaces are refused, with the cure, and what `work` raises of the two errors.
    """
    refusal = sandbox.probe()
    if refusal:
        raise KernelError(refusal)
    read, write = os.pipe()
    keep = (needs,) if needs.is_relative_to(_RUN) else ()  # the sandbox has a /run of its own
    try:
        box = spawn(lambda: _main(work, write), tie_to_parent=True, keep=keep)
    except KernelError:
        os.close(read)
        raise
    finally:
        os.close(write)
    with box, os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
        code = box.wait()
    return _opened(answer, code, kind)


def _main(work: Callable[[], Result], write: int) -> int:
    try:
        word, answer = _DONE, msgspec.json.encode(work())
    except InputError as error:
        word, answer = _INPUT, str(error).encode()
    except KernelError as error:
        word, answer = _KERNEL, str(error).encode()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(word.encode() + b"\n" + answer)
    return 0


def _opened(answer: bytes, code: int, kind: type[Result]) -> Result:
    word, _, rest = answer.partition(b"\n")
    match word.decode():
        case "done":
            return msgspec.json.decode(rest, type=kind)
        case "input":
            raise InputError("", rest.decode())
        case "kernel":
            raise KernelError(rest.decode())
        case _:
            raise KernelError(f"the measurement ended without a result, status {code}")
