"""Runs the suite that a mutation names on scripts that hold it: the suite must fail."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
import yaml

from services.allocator.adapters import pipeline

_LUA: Final = "services.allocator.adapters.lua"
_FILE: Final = Path(__file__).with_name("mutations.yaml")
# The memory store does not run the scripts; long tests say no more, later.
_OPTIONS: Final = (
    "-q",
    "-x",
    "-m",
    "not long",
    "-k",
    "not memory_store",
    "-p",
    "no:cacheprovider",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One text of one script replaced by another."""

    script: str
    what: str
    old: str
    new: str
    suite: str  # the file whose tests must fail

    def applied_to(self, text: str) -> str:
        count = text.count(self.old)
        assert count == 1, f"{self.script}.lua holds {self.old!r} {count} times: {self.what}"
        return text.replace(self.old, self.new)


def mutations() -> list[Mutation]:
    document = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    suites = document["suites"]
    listed = document["mutations"]
    return [Mutation(**each | {"suite": suites[each["suite"]]}) for each in listed]


def scripts() -> dict[str, str]:
    """Every script by its name."""
    return {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in resources.files(_LUA).iterdir()
        if file.name.endswith(".lua")
    }


def is_killed(mutation: Mutation) -> bool:
    """Whether the suite that the mutation names fails with it."""
    with _mutated(mutation), contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main([*_OPTIONS, mutation.suite])
    assert status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), (
        f"{mutation.suite} could not be run: {status!r}"
    )
    return status == pytest.ExitCode.TESTS_FAILED


@contextlib.contextmanager
def _mutated(mutation: Mutation) -> Iterator[None]:
    """The pipeline loads its scripts from a folder that holds the mutation."""
    folder = Path(tempfile.mkdtemp(prefix="berth-mutant-"))
    changed = pytest.MonkeyPatch()
    try:
        for name, text in scripts().items():
            written = mutation.applied_to(text) if name == mutation.script else text
            (folder / f"{name}.lua").write_text(written, encoding="utf-8")
        changed.setattr(pipeline, "resources", SimpleNamespace(files=lambda package: folder))
        yield
    finally:
        changed.undo()
        shutil.rmtree(folder)
