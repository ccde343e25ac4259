"""Compiles the CNI plugin into the wheel, which therefore carries a platform tag.

``python hatch_build.py`` builds it in a checkout, beside its source: nothing to install.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE_FOLDER = Path("services", "node_agent", "cni")
PLUGIN = SOURCE_FOLDER / "berth-cni"
FLAGS = ("-std=c11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Wpedantic")


class BuildFailed(Exception):
    """No compiler of this machine can make a static program."""


class PluginBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is private
    """Runs for wheels and for editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="berth-cni-")
        output = Path(self._folder.name, PLUGIN.name)
        compile_plugin(Path(self.root), output)
        build_data["force_include"][str(output)] = PLUGIN.as_posix()
        build_data["pure_python"] = False
        # Any Python 3, but one machine: the plugin is a program, not an extension module.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()


def compile_plugin(root: Path, output: Path) -> None:
    """Compile with `cc`, else with ziglang's compiler. Raises BuildFailed with both reasons."""
    sources = [str(path) for path in sorted((root / SOURCE_FOLDER).glob("*.c"))]
    reasons = []
    for compiler in _compilers():
        command = [*compiler, *FLAGS, "-o", str(output), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            output.chmod(0o755)
            return
        reasons.append(f"{' '.join(compiler)}: {done.stderr.strip()[-500:]}")
    tried = "; ".join(reasons) or "no compiler found"
    raise BuildFailed(
        "the CNI plugin needs a C compiler that links statically: install cc with a static "
        f"C library, or the package ziglang from PyPI ({tried})"
    )


def _compilers() -> list[list[str]]:
    found = []
    if cc := shutil.which("cc"):
        found.append([cc])
    if importlib.util.find_spec("ziglang"):
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    try:
        compile_plugin(here, here / PLUGIN)
    except BuildFailed as error:
        sys.exit(f"hatch_build.py: {error}")
    print(here / PLUGIN)
