"""Take everything of ours off a node, and nothing else: what `vallum uninstall --node` does, step by step.

The runtime's configuration goes first, so that nobody is attached to us any more; rules go last, so that nothing is
open while there is still something to protect. Each step can be repeated, and a step that fails leaves the others.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from vallum import dataplane
from vallum.agent.ask import ask
from vallum.agent.settings import Cni
from vallum.cni import attached, chain, conflist
from vallum.cni.conflist import Places
from vallum.kernel import conntrack
from vallum.kernel.gate import Gate
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.model.errors import InputError, KernelError
from vallum.model.wiring import Route, Wiring

Step = Callable[[], str | None]
"""Does one thing; what was removed, in words, or None where there was nothing."""


def remove(cni: Cni, socket: Path, mark_mask: int, *, force: bool) -> Iterator[str]:
    """What was removed, line by line. Works in the calling thread's network namespace.

    Raises:
        InputError: an agent runs here and would put all of it back, or pods have their network from us and `force`
            is not given; nothing is removed then.
        KernelError: at the end, for the steps that could not be done.
    """
    _refuse_living(socket)
    with Rtnetlink() as host:
        standing = attached.read(host)
        if standing.complete and not force:
            names = ", ".join(str(each.pod) for each in standing.complete[:3])
            more = f" and {len(standing.complete) - 3} more" if len(standing.complete) > 3 else ""
            cure = "drain the node first, or cut them off with --force"
            raise InputError("", f"pods here have their network from us: {names}{more}; {cure}")
        ours = (*standing.half_made, *(each.interface for each in standing.complete))
        yield from _each(_steps(cni, socket, mark_mask, host, ours))


def _refuse_living(socket: Path) -> None:
    try:
        ask(socket, {"op": "status"})
    except OSError:
        return
    raise InputError(str(socket), "an agent runs here and would restore everything; stop it first (the DaemonSet)")


def _each(steps: tuple[Step, ...]) -> Iterator[str]:
    failed = []
    for step in steps:
        try:
            done = step()
        except (KernelError, InputError, OSError) as error:
            failed.append(str(error))
            continue
        if done is not None:
            yield done
    if failed:
        raise KernelError(f"not everything could be removed, run it again: {'; '.join(failed)}")


def _steps(cni: Cni, socket: Path, mark_mask: int, host: Rtnetlink, links: tuple[str, ...]) -> tuple[Step, ...]:
    places = Places(cni.conf_dir, cni.bin_dir)
    return (
        lambda: "configuration behind another plugin" if chain.uninstall(places) else None,
        lambda: f"configuration and plugin in {cni.conf_dir} and {cni.bin_dir}" if conflist.uninstall(places) else None,
        *(partial(_unlink, host, name) for name in links),
        _unroute,
        partial(_clear_planes, mark_mask),
        partial(_unmark, mark_mask),
        *(partial(_delete, path) for path in (*_ledger(cni.ledger), cni.state_dir, cni.socket, socket)),
    )


def _unlink(host: Rtnetlink, name: str) -> str:
    host.delete_link(name)
    return f"link {name}"


def _unroute() -> str | None:
    """Ours are known by protocol number and name; a plan without any removes them all."""
    removed = sync(Wiring()).removed
    gate = ["the gate of tunnels"] * Gate().clear()
    devices = [each for each in removed if isinstance(each, str)]
    routes = [f"{count} routes"] if (count := sum(isinstance(each, Route) for each in removed)) else []
    return ", ".join((*devices, *routes, *gate)) or None


def _clear_planes(mark_mask: int) -> str | None:
    planes = [plane(mark_mask) for name in dataplane.PLANES if name != "memory" for plane in dataplane.load(name)]
    held = [plane.name for plane in planes if plane.read() is not None]
    for plane in planes:
        plane.clear()
    return f"rules of plane {', '.join(held)}" if held else None


def _unmark(mark_mask: int) -> str | None:
    count = conntrack.clear_marks(mark_mask)
    return f"marks of {count} connections" if count else None


def _ledger(path: Path) -> tuple[Path, ...]:
    """With what SQLite keeps beside it."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _delete(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        return str(path)
    return None
