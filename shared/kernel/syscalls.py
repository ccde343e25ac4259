"""The system calls that Python 3.11 does not wrap, each raising OSError with its name."""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MNT_DETACH: Final = 0x2

_PR_SET_PDEATHSIG: Final = 1
_CAP_SYS_ADMIN: Final = 21


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(fd: int, kind: int) -> None:
    _check(_libc().setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    _check(_libc().unshare(flags), "unshare")


def mount(
    source: str,
    target: str,
    kind: str | None = None,
    flags: int = 0,
    options: str | None = None,
) -> None:
    _check(
        _libc().mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    _check(_libc().umount2(target.encode(), MNT_DETACH), f"umount {target}")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def outlive_parent() -> None:
    """Take `die_with_parent` back: another process decides how long this one lives."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0), "prctl")


def can_administer() -> bool:
    """Whether this process may make namespaces without a user namespace of its own.

    The capability is asked for, not the user id: root in a container may lack it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False
