"""The sandbox that a cluster lives in: private mounts, network and processes, so that its end leaves nothing.

Two things reach out of such a sandbox and are held back here: settings of the whole machine, which a kubelet changes,
and folders with fixed names under /var. Control groups reach out too; they are removed afterwards by `cgroups`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vallum.kernel import libc, sandbox, sysctl
from vallum.lab.kube import cgroups, layout
from vallum.model.errors import InputError, KernelError

_TOOLS = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "openssl": "openssl", "iptables": "iptables"}
_PLUGINS = Path("/usr/lib/cni")

WANTED = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What a kubelet writes when it finds something else (k8s.io/component-helpers, sysctl)."""

_CHANGED_FOLDERS = ("/var/lib", "/var/log")


def check() -> None:
    """Raises InputError, with the cure, where no cluster can run."""
    if os.geteuid() != 0:
        raise InputError("", "a Kubernetes node needs root: run this with sudo, or `make test-kube`, which does")
    reason = sandbox.probe()
    if reason is not None:
        raise InputError("", reason)
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    missing += [] if (_PLUGINS / "loopback").exists() else ["containernetworking-plugins"]
    if missing:
        raise InputError("", f"missing: {', '.join(missing)}; as root run: apt-get install {' '.join(missing)}")
    cgroups.check()


def inside() -> bool:
    """Whether this process runs in such a sandbox, so that a cluster can be built here."""
    return (layout.STATE / "sysctl").is_dir()


def spawn(main: Callable[[], int], *, tie_to_parent: bool, keep: tuple[Path, ...] = ()) -> sandbox.Sandbox:
    """Run `main` in a furnished sandbox. See `sandbox.spawn`."""

    def furnished() -> int:
        try:
            _furnish()
        except KernelError as error:
            raise KernelError(f"the cluster's sandbox: {error}") from error
        return main()

    return sandbox.spawn(furnished, tie_to_parent=tie_to_parent, keep=keep)


def _furnish() -> None:
    layout.STATE.mkdir(mode=0o700)
    for key, value in WANTED.items():
        _shadow(key, value)
    for folder in _CHANGED_FOLDERS:
        _layer(Path(folder))


def _shadow(key: str, value: int) -> None:
    """Put a plain file in the place of a setting: programs inside read what they want, the machine keeps its own."""
    sysctl.read(key)
    shadow = layout.STATE / "sysctl" / key
    shadow.parent.mkdir(parents=True, exist_ok=True)
    shadow.write_text(f"{value}\n", encoding="utf-8")
    libc.mount(str(shadow), f"/proc/sys/{key}", flags=libc.MS_BIND)


def _layer(folder: Path) -> None:
    """Let changes in a folder go to memory."""
    layers = layout.STATE / "layers" / folder.name
    upper, work = layers / "upper", layers / "work"
    for place in (upper, work):
        place.mkdir(parents=True)
    options = f"lowerdir={folder},upperdir={upper},workdir={work}"
    libc.mount("overlay", str(folder), kind="overlay", options=options)
