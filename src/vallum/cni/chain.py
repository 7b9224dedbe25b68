"""Behind another plugin: its configuration with ours appended, under a name that a runtime sorts before it.

The other's file is never touched. When it changes, ours follows; when it goes, ours goes, because it is nothing alone.
Pods that were attached before, or past us, are found from the API, and are closed in the ranges that are known.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from vallum.cni.conflist import NAME, PLUGIN, Places, put
from vallum.cni.service import Doors
from vallum.model.errors import InputError

PREFIX = "00-vallum-"
"""Before the names that plugins give their files, which start at 05 or 10."""


def install(places: Places, shim: Path, doors: Doors, base: str) -> bool:
    """Put plugin and combined configuration in place. Reports whether anything had to be written.

    Raises InputError where the other's file is missing or is none, or a folder cannot be written.
    """
    source = places.configurations / base
    ours = places.configurations / f"{PREFIX}{Path(base).stem}.conflist"
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        with suppress(FileNotFoundError):
            ours.unlink()
        raise InputError(str(source), f"{error.strerror}; --cni-chain names a file of that folder") from error
    combined = appended(text, doors, str(source))
    plugin = put(places.plugins / PLUGIN, shim.read_bytes(), 0o755)
    return put(ours, combined.encode(), 0o644) or plugin


def uninstall(places: Places) -> bool:
    """Take the combined configurations away. Reports whether there were any."""
    found = sorted(places.configurations.glob(f"{PREFIX}*.conflist"))
    for path in found:
        path.unlink(missing_ok=True)
    return bool(found)


def appended(text: str, doors: Doors, shown: str) -> str:
    """The configuration with ours last; a single plugin's (`.conf`) becomes a list. Pure. Raises InputError."""
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise InputError(shown, f"is no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise InputError(shown, f"a CNI configuration has a name; {NAME} is an example")
    plugins = found.get("plugins", [{key: value for key, value in found.items() if key not in {"name", "cniVersion"}}])
    if not isinstance(plugins, list) or not all(isinstance(each, dict) and each.get("type") for each in plugins):
        raise InputError(shown, "each of the plugins of a CNI configuration has a type")
    kept = {key: value for key, value in found.items() if key in {"cniVersion", "cniVersions", "name", "disableCheck"}}
    others = [each for each in plugins if each["type"] != PLUGIN]
    ours = {"type": PLUGIN, "socket": str(doors.socket), "queueDir": str(doors.queue)}
    return json.dumps(kept | {"plugins": [*others, ours]}, indent=2) + "\n"
