"""A guarded bus for every test of who may speak."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.speakers import GuardedBus
from tests.support.speakers import guarded_bus as run_guarded_bus


@pytest.fixture
def guarded_bus(tmp_path: Path) -> Iterator[GuardedBus]:
    with run_guarded_bus(tmp_path / "keys") as bus:
        yield bus
