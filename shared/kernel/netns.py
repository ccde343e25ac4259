"""Network namespaces: made, entered for a moment, pinned to a path, left behind by nobody.

A namespace is held by a file descriptor; when the last one closes and no process is inside, the
kernel frees it with all its links, routes and rules. Entering concerns the calling thread, so
all of this is for one thread, and nothing here awaits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    can_administer,
    mount,
    setns,
    unmount,
    unshare,
)

_OWN = "/proc/thread-self/ns/net"


def open_own_netns() -> int:
    """A descriptor of the namespace this thread is in."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def open_netns(path: str | Path) -> int:
    """A descriptor of the namespace that a path names. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def new_netns() -> int:
    """A fresh namespace, held by the descriptor that is returned."""
    home = open_own_netns()
    try:
        unshare(CLONE_NEWNET)
        try:
            return open_own_netns()
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def in_netns(fd: int) -> Iterator[None]:
    """Run the block inside a namespace and come back, whatever happens in it."""
    home = open_own_netns()
    try:
        with _from_home(fd, home):
            yield
    finally:
        os.close(home)


@contextmanager
def _from_home(fd: int, home: int) -> Iterator[None]:
    setns(fd, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)


def socket_in(
    netns: int | None, family: int, kind: int, protocol: int = 0, *, home: int | None = None
) -> socket.socket:
    """A socket of a namespace: it stays there, whoever uses it. None: this thread's own.

    `home` is a descriptor of this thread's own, if the caller has one.
    """
    kind |= socket.SOCK_CLOEXEC
    if netns is None:
        return socket.socket(family, kind, protocol)
    with in_netns(netns) if home is None else _from_home(netns, home):
        return socket.socket(family, kind, protocol)


def netns_inode(fd: int) -> int:
    """What tells one namespace from another while both live."""
    return os.fstat(fd).st_ino


def pin(fd: int, path: Path) -> None:
    """Name a namespace by a path of this mount namespace (a bind mount, as runtimes do)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o444)
    try:
        mount(f"/proc/self/fd/{fd}", str(path), flags=MS_BIND)
    except OSError:
        path.unlink()
        raise


def unpin(path: Path) -> None:
    """Undo `pin`; a path that is not there, or not mounted any more, is fine."""
    try:
        unmount(str(path))
    except (FileNotFoundError, OSError) as error:
        if path.exists() and error.errno not in (22, 2):  # EINVAL: not a mount point
            raise
    path.unlink(missing_ok=True)


def isolate() -> None:
    """Move this process into fresh network and mount namespaces, as root or anybody.

    Without the capability a user namespace is made first, in which this user is root. The
    process must have one thread.
    """
    flags = CLONE_NEWNET | CLONE_NEWNS
    if can_administer():
        unshare(flags)
    else:
        user, group = os.geteuid(), os.getegid()
        unshare(CLONE_NEWUSER | flags)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    # Mounts made from here on stay here: nothing of them reaches the machine's own tree.
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def join(pid: int, netns: str | None = None) -> None:
    """Move this process into the user (if another), mount and network namespaces of `pid`.

    `netns` names another network namespace than the process' own, by a path that `pid` sees.
    """
    base = Path(f"/proc/{pid}/ns")
    user = os.open(base / "user", os.O_RDONLY | os.O_CLOEXEC)
    mounts = os.open(base / "mnt", os.O_RDONLY | os.O_CLOEXEC)
    net = open_netns(netns if netns is not None else base / "net")
    try:
        if os.fstat(user).st_ino != os.stat("/proc/self/ns/user").st_ino:
            setns(user, CLONE_NEWUSER)
        folder = os.getcwd()
        setns(mounts, CLONE_NEWNS)
        os.chdir(folder)
        setns(net, CLONE_NEWNET)
    finally:
        for fd in (user, mounts, net):
            os.close(fd)
