"""Network sysctls of a namespace, by their path below /proc/sys/net."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from .netns import in_netns

_BASE: Final = Path("/proc/sys/net")


def link_path(ifname: str, name: str) -> str:
    """``ipv4/conf/<link>/<name>``: a path, because a link's name may hold dots."""
    return f"ipv4/conf/{ifname}/{name}"


def read_sysctl(path: str, *, netns: int | None = None) -> str:
    """The value as text. Raises OSError when there is no such sysctl (or link)."""
    with nullcontext() if netns is None else in_netns(netns):
        return (_BASE / path).read_text(encoding="ascii").strip()


def set_sysctl(path: str, value: str) -> None:
    """Set it without looking: of a link that was just made. Raises OSError."""
    file = os.open(f"{_BASE}/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)


def write_sysctl(path: str, value: str, *, netns: int | None = None) -> bool:
    """Set it if it differs; True when it did."""
    with nullcontext() if netns is None else in_netns(netns):
        file = _BASE / path
        if file.read_text(encoding="ascii").strip() == value:
            return False
        file.write_text(value, encoding="ascii")
        return True
