"""The prefix of every annotation, resource and taint is set in one place."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from services.eni_manager.config import EniManagerSettings
from shared.annotations import PREFIX, PREFIX_DEFAULT, PREFIX_VARIABLE
from shared.settings import InvalidSettings, load_settings

OURS = "addresses.example.org"
_NAMES = """
from shared import annotations as a
from services.eni_manager.kubernetes.node_objects import TAINT
print(a.NETWORKS, a.DELETE_POLICY, a.NOMINATED_IP, a.RESOURCE_SHARED, TAINT)
network = a.parse_pod_network({a.PREFIX + "networks": "tke-route-eni"})
print(network.mode)
"""


def told(prefix: str | None, program: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != PREFIX_VARIABLE}
    if prefix is not None:
        environment[PREFIX_VARIABLE] = prefix
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_name_begins_with_what_the_environment_says() -> None:
    *names, mode = told(OURS, _NAMES).stdout.split()

    assert len(names) == 5
    assert {name.partition("/")[0] for name in names} == {OURS}
    assert mode == "tke-route-eni"


def test_what_cannot_begin_a_name_is_refused_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "services.eni_manager.main"],
        env={**os.environ, PREFIX_VARIABLE: "No Prefix/"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "annotation_prefix" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_cannot_change_what_was_read_before_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("config") / "berth.yaml"
    file.write_text(f"common: {{annotation_prefix: {OURS}}}\n", encoding="utf-8")

    with pytest.raises(InvalidSettings, match=PREFIX_VARIABLE):
        load_settings(EniManagerSettings, file, {})
    assert f"{PREFIX_DEFAULT}/" == PREFIX
