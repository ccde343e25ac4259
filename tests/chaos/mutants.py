"""``python -m tests.chaos.mutants [NUMBER…]``: wrongs in the services, which must be found.

Each is put into a copy of the sources, and the pair of workload and nemesis that its entry in
``mutants.yaml`` names is run on that copy. Prints which checkers spoke.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import berth
from berth.programs import base_environment, python_module

_ROOT: Final = Path(berth.__file__).resolve().parent.parent
_SOURCES: Final = ("berth", "services", "shared", "tests", "deploy")
_FILE: Final = Path(__file__).with_name("mutants.yaml")
_SEED: Final = "1"
_SECONDS: Final = "5"
_RUN_S_MAX: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One text of one file replaced by another."""

    what: str
    file: str
    old: str
    new: str
    workload: str
    nemesis: str
    caught_by: list[str]  # checkers, of which one must speak


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run on a mutant came to."""

    checkers: tuple[str, ...]
    crash: str | None  # of the run itself, which proves nothing


def mutants() -> list[Mutant]:
    return [Mutant(**each) for each in yaml.safe_load(_FILE.read_text(encoding="utf-8"))]


@contextmanager
def mutated(mutant: Mutant) -> Iterator[Path]:
    """A copy of the sources that holds the wrong."""
    with tempfile.TemporaryDirectory(prefix="berth-mutant-") as name:
        root = Path(name)
        for folder in _SOURCES:
            shutil.copytree(
                _ROOT / folder,
                root / folder,
                ignore=shutil.ignore_patterns("__pycache__"),
                symlinks=True,
            )
        file = root / mutant.file
        text = file.read_text(encoding="utf-8")
        count = text.count(mutant.old)
        assert count == 1, f"{mutant.file} holds {mutant.old!r} {count} times: {mutant.what}"
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        yield root


def hunt(mutant: Mutant) -> Found:
    """Run its pair on the copy."""
    with mutated(mutant) as root:
        try:
            done = subprocess.run(
                [
                    *python_module("tests.chaos"),
                    *("--json", "--seed", _SEED, "--seconds", _SECONDS),
                    *("--workload", mutant.workload, "--nemesis", mutant.nemesis),
                ],
                env=base_environment() | {"PYTHONPATH": str(root)},
                cwd=root,
                capture_output=True,
                text=True,
                timeout=_RUN_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Found(checkers=(), crash="the run did not end")
    if not done.stdout:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        return Found(checkers=(), crash=last)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    spoke = {each["checker"] for row in rows for each in row["violations"]}
    return Found(checkers=tuple(sorted(spoke)), crash=None)


def main() -> int:
    listed = mutants()
    chosen = [int(each) for each in sys.argv[1:]] or range(1, len(listed) + 1)
    missed = 0
    for number in chosen:
        mutant = listed[number - 1]
        found = hunt(mutant)
        is_caught = bool({*mutant.caught_by} & {*found.checkers})
        missed += not is_caught
        said = found.crash or ", ".join(found.checkers) or "nobody"
        sys.stdout.write(
            f"{number:>2} {'caught' if is_caught else 'MISSED'} {mutant.what}: {said}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - missed} of {len(chosen)} mutants caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
