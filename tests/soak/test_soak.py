"""A short soak, from the command to its files; `make soak` takes half an hour."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from berth.programs import base_environment, python_module
from tests.soak.report import RESULT, SAMPLES

PROCESSES = {
    "nodes",
    *(f"{kind}-{number}" for kind in ("allocator", "eni_manager") for number in (1, 2)),
    "nats",
    "redis",
}
LOOKS = 180


@pytest.mark.long
def test_a_soak_looks_at_every_process_and_leaves_its_samples(tmp_path: Path) -> None:
    done = subprocess.run(
        [*python_module("tests.soak"), "--minutes", "0.2", "--into", str(tmp_path)],
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.endswith("too short to judge growth\n")
    result = json.loads((tmp_path / RESULT).read_text(encoding="utf-8"))
    assert result["wrong"] == []
    assert result["counts"]["add ok"] > 0
    with (tmp_path / SAMPLES).open(encoding="utf-8") as file:
        points: dict[str, list[float]] = {}
        for row in csv.DictReader(file):
            points.setdefault(row["series"], []).append(float(row["value"]))
    for what in ("rss", "descriptors", "threads"):
        assert {name for name in PROCESSES if f"{name}: {what}" in points} == PROCESSES
    assert all(len(values) == LOOKS + 1 for name, values in points.items()), points.keys()
    assert all(min(points[f"{name}: rss"]) > 0 for name in PROCESSES)
    assert min(points["redis: used memory"]) > 0
    assert max(points["stream BERTH_JOURNAL_chaos: messages"]) > 0
    assert points.keys() == {row["name"] for row in result["rows"]}
