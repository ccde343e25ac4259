"""How one of our programs is started: found from any folder, without the caller's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import berth


def python_module(module: str) -> tuple[str, ...]:
    # -P: a folder named like one of our packages in the caller's directory is not imported.
    return (sys.executable, "-P", "-m", module)


def base_environment() -> dict[str, str]:
    """The caller's environment without Berth's settings; our packages found from anywhere."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BERTH_")}
    root = str(Path(berth.__file__).resolve().parent.parent)
    return kept | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
