"""What a playground could leave on a machine: processes, links, rules, files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.routes import rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Of one run folder, and of the namespace that this process is in.

    Namespaces need no look of their own: they live as long as a process in them or a
    descriptor of one, and both are processes of the run.
    """

    processes: tuple[str, ...]
    links: frozenset[str]
    rules: frozenset[str]
    files: tuple[str, ...]


def traces_of(run_dir: Path) -> Traces:
    with Conversation() as conversation:
        found = frozenset(link.name for link in links(conversation))
        told = frozenset(str(rule) for rule in rules(conversation))
    return Traces(
        processes=tuple(_processes(run_dir)),
        links=found,
        rules=told,
        files=tuple(sorted(str(each) for each in run_dir.rglob("*"))),
    )


def _processes(run_dir: Path) -> list[str]:
    """Whoever names the folder in its arguments or environment, or has a file of it open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if _touches(process, str(run_dir)):
                    arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(f"{process.name} {arguments.decode(errors='replace')}")
            except OSError:  # it ended, or is another user's
                continue
    return found


def _touches(process: Path, folder: str) -> bool:
    named = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    if folder.encode() in named:
        return True
    return any(os.readlink(each).startswith(folder) for each in (process / "fd").iterdir())
