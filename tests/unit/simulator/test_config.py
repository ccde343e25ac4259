"""Secrets come from a file of their own or the environment, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.vpc_simulator.config import SimulatorSettings
from shared.errors import InvalidInput
from shared.settings import InvalidSettings, load_settings


def secret_file(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "secrets.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_file_for_its_owner_alone_is_read(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "secret_id: me\nsecret_key: mine\n")

    secrets = SimulatorSettings(simulator_secret_file=path).secrets()

    assert (secrets.secret_id, secrets.secret_key.get_secret_value()) == ("me", "mine")
    assert secrets.admin_token.get_secret_value() == ""


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "secret_id: me\nsecret_key: mine\n", mode=0o644)

    with pytest.raises(InvalidInput, match="'0644' is not allowed; allowed: 0600"):
        SimulatorSettings(simulator_secret_file=path).secrets()


@pytest.mark.parametrize("text", ["secret_id: me\n", "secret_key: [s3cret]\nsecret_id: me\n"])
def test_a_wrong_secret_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    path = secret_file(tmp_path, text)

    with pytest.raises(InvalidInput, match="secret_key is missing or not allowed") as caught:
        SimulatorSettings(simulator_secret_file=path).secrets()

    assert "s3cret" not in str(caught.value)


def test_missing_credentials_say_where_to_put_them() -> None:
    settings = SimulatorSettings(simulator_secret_id=SecretStr("me"))

    with pytest.raises(InvalidSettings, match="BERTH_SIMULATOR_SECRET_KEY"):
        settings.secrets()


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"BERTH_SIMULATOR_SECRET_ID": "me", "BERTH_SIMULATOR_SECRET_KEY": "mine"}
    for name, value in named.items():
        monkeypatch.setenv(name, value)

    settings = load_settings(SimulatorSettings, None, named)

    assert settings.secrets().secret_id == "me"
    assert "mine" not in repr(settings)
