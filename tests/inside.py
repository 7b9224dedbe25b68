"""Run a piece of a test in a private sandbox and bring its result back.

The piece runs in a fork, so threads of the test runner do not matter, and what it makes is gone afterwards.
"""

import ctypes
import os
import pickle
import time
import traceback
from collections.abc import Callable
from functools import cache
from typing import NoReturn, TypeVar

import pytest

from vallum.kernel import sandbox

Result = TypeVar("Result")

NOBODY = 65534
_PR_SET_DUMPABLE = 4


class FailedInsideError(AssertionError):
    """The piece raised; the text is its traceback."""


@cache
def why_not() -> str | None:
    """Why there is no sandbox here, asked once a run."""
    return sandbox.probe()


def need_sandbox() -> None:
    """Skip the test, saying why, where there is no sandbox."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)


@cache
def why_not_for_nobody() -> str | None:
    """Why an ordinary user has no sandbox here; root may have one where others do not (Ubuntu, AppArmor)."""
    if os.geteuid() != 0:
        return why_not()
    read, write = os.pipe()

    def ask() -> None:
        become_nobody()
        os.write(write, (sandbox.probe() or "").encode())

    child = fork(ask)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        reason = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return reason or (f"the trial as nobody ended with status {status}" if status else None)


def run_inside(piece: Callable[[], Result], *, as_nobody: bool = False) -> Result:
    """The result of `piece`, run as root of a sandbox; `as_nobody`: one that an ordinary user made."""
    need_sandbox()
    if as_nobody and (reason := why_not_for_nobody()) is not None:
        pytest.skip(f"as an ordinary user: {reason}")
    read, write = os.pipe()
    child = fork(lambda: _run_piece(piece, read, write, as_nobody=as_nobody))
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        raise FailedInsideError(f"the sandbox ended with status {status} and said nothing")
    fine, value = pickle.loads(text)
    if not fine:
        raise FailedInsideError(value)
    result: Result = value
    return result


def fork(body: Callable[[], object]) -> int:
    """The pid of a child that runs `body` and ends."""
    child = os.fork()
    if child == 0:
        _end_with(body)
    return child


def become_nobody() -> None:
    """Give up root for good. Dumpable again, as after an exec: else /proc/self belongs to root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def eventually(condition: Callable[[], bool], within: float = 5.0) -> bool:
    """Reports whether the condition came true before the deadline."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def _end_with(body: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into the test runner
        traceback.print_exc()
    finally:
        os._exit(code)


def _run_piece(piece: Callable[[], object], read: int, write: int, *, as_nobody: bool) -> None:
    os.close(read)
    if as_nobody:
        become_nobody()
    try:
        with sandbox.spawn(lambda: _report(piece, write), tie_to_parent=True) as box:
            box.wait()
    except BaseException:  # noqa: BLE001 - everything is told to the test
        _tell(write, fine=False, value=traceback.format_exc())


def _report(piece: Callable[[], object], write: int) -> int:
    try:
        _tell(write, fine=True, value=piece())
    except BaseException:  # noqa: BLE001 - everything is told to the test
        _tell(write, fine=False, value=traceback.format_exc())
    return 0


def _tell(write: int, *, fine: bool, value: object) -> None:
    with os.fdopen(write, "wb", closefd=False) as pipe:
        pipe.write(pickle.dumps((fine, value)))
