"""A bounded run of `make fuzz`: whatever comes in is answered, refused or dropped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import fuzz_json, fuzz_plugin, fuzz_socket

pytestmark = [pytest.mark.kernel, pytest.mark.long]

SEED = 20
SECONDS = 10


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: it becomes the path of sockets."""
    with tempfile.TemporaryDirectory(prefix="berth-fuzz-", dir="/tmp") as folder:
        yield Path(folder)


def test_spoiled_documents_never_trip_a_sanitizer(folder: Path) -> None:
    fuzzed = fuzz_json(folder, seed=SEED, seconds=SECONDS)

    assert (fuzzed.findings, fuzzed.executions > 100_000) == ([], True)


async def test_spoiled_calls_of_the_plugin_are_answered_with_a_code(folder: Path) -> None:
    fuzzed = await fuzz_plugin(folder, seed=SEED, seconds=SECONDS)

    assert (fuzzed.findings, fuzzed.executions > 100) == ([], True)


async def test_spoiled_frames_leave_the_agent_serving(folder: Path) -> None:
    fuzzed = await fuzz_socket(folder, seed=SEED, seconds=SECONDS)

    assert (fuzzed.findings, fuzzed.executions > 1000) == ([], True)
