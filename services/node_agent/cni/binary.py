"""Where the compiled plugin is: nothing is compiled at run time.

In a wheel's install it lies beside this file. An editable install puts it into site-packages,
outside the source tree, so the install's own record is asked. A checkout builds it once.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Final

from shared.errors import NotFound

PLUGIN_NAME: Final = "berth-cni"
_RECORDED: Final = f"services/node_agent/cni/{PLUGIN_NAME}"


def plugin_path() -> Path:
    """The plugin's binary. Raises NotFound, saying how to build it."""
    beside = Path(__file__).with_name(PLUGIN_NAME)
    for candidate in (beside, _recorded()):
        if candidate is not None and candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise NotFound(
        f"{PLUGIN_NAME} is not built here; in a checkout run: python hatch_build.py "
        "(needs a C compiler), or install the wheel"
    )


def _recorded() -> Path | None:
    try:
        files = metadata.files("berth") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == _RECORDED:
            return Path(str(file.locate()))
    return None
