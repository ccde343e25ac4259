"""``python -m tests.mutants [SCRIPT …]``: the table of mutations, and which are not noticed."""

from __future__ import annotations

import sys
import time

from tests.mutants.runner import is_killed, mutations


def main() -> int:
    wanted = frozenset(sys.argv[1:])
    chosen = [each for each in mutations() if not wanted or each.script in wanted]
    survivors = 0
    for each in chosen:
        began = time.monotonic()
        killed = is_killed(each)
        survivors += not killed
        verdict = "killed" if killed else "SURVIVES"
        seconds = time.monotonic() - began
        line = f"{verdict:9}{each.script:12}{each.what:55}{each.suite} {seconds:.1f} s"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - survivors} of {len(chosen)} mutations are noticed\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
