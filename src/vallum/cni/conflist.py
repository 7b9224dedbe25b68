"""What tells a container runtime to call us: the plugin among its binaries, and the network's configuration.

The configuration goes in last and as a whole, because a runtime takes the node for ready as soon as it sees one. The
reference plugins portmap and bandwidth come behind ours where they are installed, and only those versions of the
specification are offered that all of them speak: a runtime takes the newest and an old plugin would refuse it.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vallum.cni.result import VERSIONS
from vallum.cni.service import Doors
from vallum.model.errors import InputError

NAME = "10-vallum.conflist"
PLUGIN = "vallum"
_BEFORE_NEWEST = "1.0.0"
"""What cniVersion says: runtimes that know no cniVersions take this one."""

_OTHERS: dict[str, dict[str, Any]] = {
    "portmap": {"capabilities": {"portMappings": True}},
    "bandwidth": {"capabilities": {"bandwidth": True}},
}
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Places:
    """The runtime's folders: of configurations and of plugins."""

    configurations: Path = Path("/etc/cni/net.d")
    plugins: Path = Path("/opt/cni/bin")


def conflist(doors: Doors, others: Mapping[str, tuple[str, ...]], mtu: int | None = None) -> str:
    """The text of the configuration. Pure.

    Args:
        doors: where the agent listens.
        others: plugins that are installed, and the versions that each speaks.
        mtu: of the pods' links; None for that of the node's uplink.
    """
    chain = [name for name in _OTHERS if _BEFORE_NEWEST in others.get(name, ())]
    common = [version for version in VERSIONS if all(version in others[name] for name in chain)]
    ours: dict[str, Any] = {"type": PLUGIN, "socket": str(doors.socket), "queueDir": str(doors.queue)}
    ours |= {"capabilities": {"ips": True, "mac": True}} | ({} if mtu is None else {"mtu": mtu})
    plugins = [ours, *({"type": name} | _OTHERS[name] for name in chain)]
    whole = {"cniVersion": _BEFORE_NEWEST, "cniVersions": common, "name": "vallum", "plugins": plugins}
    return json.dumps(whole, indent=2) + "\n"


def install(places: Places, shim: Path, doors: Doors, mtu: int | None = None) -> bool:
    """Put plugin and configuration in place. Reports whether anything had to be written.

    Raises InputError for a folder that cannot be written.
    """
    plugin = put(places.plugins / PLUGIN, shim.read_bytes(), 0o755)
    others = {name: spoken for name in _OTHERS if (spoken := _versions(places.plugins / name))}
    return put(places.configurations / NAME, conflist(doors, others, mtu).encode(), 0o644) or plugin


def uninstall(places: Places) -> bool:
    """Take both away, the configuration first. Reports whether there was anything."""
    found = False
    for path in (places.configurations / NAME, places.plugins / PLUGIN):
        with suppress(FileNotFoundError):
            path.unlink()
            found = True
    return found


def put(path: Path, content: bytes, mode: int) -> bool:
    """Write the file as a whole, unless it is there with just this content and mode."""
    try:
        if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        option = "--cni-conf-dir" if path.name == NAME else "--cni-bin-dir"
        raise InputError(str(path), f"{error.strerror}; give another folder with {option}") from error
    return True


def _versions(plugin: Path) -> tuple[str, ...]:
    """The versions that a plugin says it speaks; none for one that is not there or does not answer."""
    found = shutil.which(plugin)
    if found is None:
        return ()
    ask = json.dumps({"cniVersion": _BEFORE_NEWEST})
    environment = {"CNI_COMMAND": "VERSION", "PATH": os.environ.get("PATH", "")}
    try:
        done = subprocess.run(
            [found], input=ask, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        return tuple(str(each) for each in json.loads(done.stdout)["supportedVersions"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return ()
