"""The lab's own world folder: manifests with what the lab assigned, replaced as a whole and never half."""

import itertools
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from vallum.model.objects import Object
from vallum.sources.encode import manifest
from vallum.sources.folder import read_world


class WorldFolder:
    """`path` is a link that always names a complete world; agents watch it."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / "world"
        self._parent = parent
        self._numbers = itertools.count(1)
        self.switched = 0.0
        """When the present world became visible, on the monotonic clock."""

    def replace(self, things: Iterable[Object]) -> str:
        """Write a new world and switch to it by one rename. Returns the revision that agents will report."""
        number = next(self._numbers)
        folder = self._parent / f"world.{number}"
        folder.mkdir(parents=True)
        items = [manifest(thing) for thing in things]
        content = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items})
        (folder / "world.json").write_bytes(msgspec.json.format(content, indent=1))
        fresh = self._parent / f"link.{number}"
        fresh.symlink_to(folder.name)
        revision = read_world(folder).revision  # of names and contents, so the same under the link
        self.switched = time.monotonic()
        fresh.rename(self.path)
        shutil.rmtree(self._parent / f"world.{number - 1}", ignore_errors=True)
        return revision
