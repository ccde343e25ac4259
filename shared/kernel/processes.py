"""A process told from a later one with its number: by the moment at which it started."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ENDED: Final = ("Z", "X", "x")  # dead, but not yet reaped by its parent


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold spaces: the numbered fields begin behind it (field 3).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _ENDED else int(fields[19])
