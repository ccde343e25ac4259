"""``python -m shared.kernel.enter --pid PID [--netns PATH] -- COMMAND…``: run in namespaces.

How agents and pod runners get into an instance of the simulated cloud. The command replaces
this process, and dies with the process that started it.
"""

from __future__ import annotations

import argparse
import os
import sys

from .netns import join
from .syscalls import die_with_parent


def enter_command(pid: int, netns: str | None, command: list[str]) -> list[str]:
    """The arguments that run `command` inside the namespaces of `pid`."""
    place = ["--netns", netns] if netns is not None else []
    return [sys.executable, "-m", __name__, "--pid", str(pid), *place, "--", *command]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--netns")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    try:
        join(arguments.pid, arguments.netns)
    except OSError as error:
        sys.exit(f"enter: namespaces of process {arguments.pid}: {error}")
    # Asked for last: changing the user namespace clears it.
    die_with_parent()
    os.execvp(arguments.command[0], arguments.command)


if __name__ == "__main__":
    main()
