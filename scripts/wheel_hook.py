"""Puts the compiled CNI plugin into a wheel, so that a node needs no C compiler. Hatchling calls this, nobody else.

A clone (an editable install) has none: `vallum.cni.build` compiles one when it is first asked for. It ignores other
machines: a wheel is for the kind of machine that built it, and its name says so.
"""

import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShimHook(BuildHookInterface):  # type: ignore[misc] - hatchling is there only while a wheel is built
    """Implements hatchling's interface."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the result beside its source."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from vallum.cni import build  # noqa: PLC0415 - only importable once the path is set

        self.aside = Path(tempfile.mkdtemp())
        target = self.aside / "vallum"
        build.compile_to(target)
        build_data["force_include"][str(target)] = "vallum/cni/shim/vallum"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        if version != "editable":
            shutil.rmtree(self.aside)
