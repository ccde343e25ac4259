"""Settings: where they come from, and how a wrong one is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from shared.settings import InvalidSettings, StoreSettings, load_settings


class ExampleSettings(StoreSettings):
    section: ClassVar[str] = "allocator"

    replicas_max: int = 3


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "berth.yaml"


def refusal(config: Path | None, environment: dict[str, str]) -> str:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(ExampleSettings, config, environment)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_defaults_need_nothing() -> None:
    settings = load_settings(ExampleSettings, None, {})

    assert settings.cluster == "default"
    assert settings.replicas_max == 3


def test_the_nearest_source_wins(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(
        "common: {cluster: common, nats_url: 'nats://common:1', log_level: ERROR}\n"
        "allocator: {nats_url: 'nats://section:1', replicas_max: 5, log_level: WARNING}\n"
    )
    monkeypatch.setenv("BERTH_REPLICAS_MAX", "6")
    monkeypatch.setenv("BERTH_LOG_LEVEL", "INFO")
    monkeypatch.setenv("BERTH_ALLOCATOR_LOG_LEVEL", "DEBUG")

    settings = load_settings(ExampleSettings, config, {"BERTH_REPLICAS_MAX": "6"})

    assert settings.cluster == "common"
    assert settings.nats_url == "nats://section:1"
    assert settings.replicas_max == 6
    assert settings.log_level == "DEBUG"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("allocator: {nats_ulr: x}", "allocator.nats_ulr", id="in-its-section"),
        pytest.param("common: {nats_ulr: x}", "common.nats_ulr", id="in-common"),
        pytest.param("allocater: {}", "section 'allocater'", id="a-section"),
        pytest.param("allocator: [1]", "section 'allocator'", id="a-list-for-a-section"),
        pytest.param("- 1", "mapping of sections", id="not-a-mapping"),
        pytest.param("a: [", "cannot be read as YAML", id="not-yaml"),
    ],
)
def test_what_the_file_may_not_hold_is_named(config: Path, text: str, named: str) -> None:
    config.write_text(text)

    assert named in refusal(config, {})


def test_a_misspelt_setting_gets_a_hint(config: Path) -> None:
    config.write_text("allocator: {nats_ulr: x}")

    assert "did you mean 'nats_url'?" in refusal(config, {})


@pytest.mark.parametrize("variable", ["BERTH_NATS_ULR", "BERTH_ALLOCATOR_NATS_ULR"])
def test_an_unknown_setting_in_the_environment_is_named(variable: str) -> None:
    line = refusal(None, {variable: "x"})

    assert variable in line
    assert "did you mean 'nats_url'?" in line


@pytest.mark.parametrize(
    "variable", ["BERTH_NODE", "BERTH_NODE_AGENT_COOLING_S", "BERTH_CONFIG", "PATH"]
)
def test_another_services_setting_is_not_ours_to_refuse(variable: str) -> None:
    settings = load_settings(ExampleSettings, None, {variable: "x"})

    assert settings.replicas_max == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("BERTH_REDIS_TIMEOUT_S", "soon", id="not-a-number"),
        pytest.param("BERTH_REDIS_TIMEOUT_S", "0", id="no-time-at-all"),
        pytest.param("BERTH_DRAIN_GRACE_S", "-1", id="negative"),
        pytest.param("BERTH_REDIS_CONNECTIONS_MAX", "2000", id="beyond-the-limit"),
        pytest.param("BERTH_LOG_LEVEL", "LOUD", id="not-a-level"),
    ],
)
def test_a_bad_value_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    line = refusal(None, {variable: value})

    assert variable in line
    assert repr(value) in line


def test_a_bad_secret_is_not_shown(config: Path) -> None:
    config.write_text("allocator: {redis_password_file: [hunter2]}")

    line = refusal(config, {})

    assert "redis_password_file" in line
    assert "hunter2" not in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.yaml" in refusal(tmp_path / "nowhere.yaml", {})
