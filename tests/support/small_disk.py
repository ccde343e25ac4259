"""A disk of a few megabytes that a test can fill: a tmpfs in a mount namespace of its own.

The namespace lives as long as its holder, a process that does nothing; with it the disk and
everything on it is gone. Servers join the namespace as they start; the test reaches the files
through the holder's root.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.kernel.syscalls import CLONE_NEWNS, setns

_HOLD = """
import sys
from shared.kernel import syscalls
syscalls.die_with_parent()
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
syscalls.mount("tmpfs", sys.argv[1], "tmpfs", options="size=" + sys.argv[2])
print("mounted", flush=True)
sys.stdin.read()
"""


class SmallDisk:
    """`folder` is its path inside the namespace, `seen` the same from outside."""

    def __init__(self, folder: Path, holder: int) -> None:
        self.folder = folder
        self.seen = Path(f"/proc/{holder}/root{folder}")
        self._namespace = f"/proc/{holder}/ns/mnt"

    def enter(self) -> None:
        """Have the calling process, just forked, see the disk."""
        namespace = os.open(self._namespace, os.O_RDONLY)
        setns(namespace, CLONE_NEWNS)
        os.close(namespace)

    def fill(self) -> None:
        with (self.seen / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        (self.seen / "ballast").unlink()


@contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[SmallDisk]:
    folder.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder), str(size_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n", "the disk was not mounted"
        yield SmallDisk(folder, holder.pid)
    finally:
        holder.communicate()
