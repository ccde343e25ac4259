"""Wall clocks of processes that a test may step, as an operator or a time server does.

libfaketime is loaded into the process and told by a file. Its monotonic clock goes on as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOTS: Final = (Path("/usr/lib"), Path("/usr/local/lib"))
_LIBRARY: Final = "**/faketime/libfaketimeMT.so.1"
_SHARED: Final = Path("/dev/shm")
_SEEN_AFTER_S: Final = 1  # whole seconds, in which the file is read again
NEEDED: Final = "libfaketime (the Debian package of that name)"


def library() -> Path | None:
    """None where it is not installed."""
    return next((each for root in _ROOTS for each in sorted(root.glob(_LIBRARY))), None)


def clear_away() -> None:
    """What the library leaves in shared memory of processes that were killed."""
    for each in _SHARED.glob("*faketime_s*_*"):
        if not Path("/proc", each.name.rpartition("_")[2]).exists():
            each.unlink(missing_ok=True)


class WallClock:
    """Of one process, or of several that shall agree."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """Of the process, from its start."""
        found = library()
        assert found is not None, f"not installed: {NEEDED}"
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(_SEEN_AFTER_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: float) -> None:
        """So far off the machine's clock, from about a second on; 0 sets it right."""
        new = self._file.with_name(f".{self._file.name}")
        new.write_text(f"{seconds:+.3f}\n", encoding="ascii")
        new.rename(self._file)
