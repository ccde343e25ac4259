"""Files of the source tree that tests read, from whatever folder they run in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "deploy/examples/statefulset.yaml"
