"""Puts the CNI plugin and the kernel's programs, compiled, into a wheel, so that a node needs no compiler. Hatchling
calls this, nobody else.

A clone (an editable install) has none: `vallum.cni.build` and `vallum.kernel.bpf.build` compile what is first asked
for. It ignores other machines: a wheel is for the kind of machine that built it, and its name says so.
"""

import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledHook(BuildHookInterface):  # type: ignore[misc] - hatchling is there only while a wheel is built
    """Implements hatchling's interface."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the result beside its source."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from vallum.cni import build  # noqa: PLC0415 - only importable once the path is set
        from vallum.kernel.bpf import build as programs  # noqa: PLC0415 - likewise

        self.aside = Path(tempfile.mkdtemp())
        target = self.aside / "vallum"
        build.compile_to(target)
        build_data["force_include"][str(target)] = "vallum/cni/shim/vallum"
        for source in programs.FOLDER.glob("*.bpf.c"):
            target = self.aside / source.with_suffix(".o").name
            programs.compile_to(source, target)
            build_data["force_include"][str(target)] = f"vallum/kernel/bpf/{target.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        if version != "editable":
            shutil.rmtree(self.aside)
