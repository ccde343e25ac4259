"""Settings that are refused, each in one line with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.eni_manager.config import EniManagerSettings
from shared.errors import InvalidInput
from shared.settings import InvalidSettings, load_settings


def load(folder: Path, text: str) -> EniManagerSettings:
    file = folder / "berth.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(EniManagerSettings, file, {})


def test_a_minimum_above_the_maximum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="warm_addresses_min 9 is above"):
        load(tmp_path, "eni_manager: {warm_addresses_min: 9, warm_addresses_max: 8}")


@pytest.mark.parametrize("url", ["ftp://x", "cloud.example", "http://", "http://x/v1"])
def test_a_url_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSettings, match="http://HOST:PORT"):
        load(tmp_path, f"eni_manager: {{cloud_url: '{url}'}}")


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="ascii")
    secret.chmod(0o644)
    settings = load(tmp_path, f"eni_manager: {{cloud_secret_id_file: {secret}}}")

    with pytest.raises(InvalidInput, match="0600 or 0400"):
        settings.read_secrets()


def test_a_secret_that_a_cluster_mounts_for_the_pods_group_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x\n", encoding="ascii")
    secret.chmod(0o440)
    files = f"cloud_secret_id_file: {secret}, cloud_secret_key_file: {secret}"

    assert load(tmp_path, f"eni_manager: {{{files}}}").read_secrets() == ("x", "x")


def test_a_missing_secret_names_its_setting(tmp_path: Path) -> None:
    settings = load(tmp_path, "eni_manager: {}")

    with pytest.raises(InvalidInput, match="cloud_secret_id: is missing"):
        settings.read_secrets()


def test_an_accounts_own_rates_are_laid_over_the_documented_ones(tmp_path: Path) -> None:
    settings = load(tmp_path, "eni_manager: {cloud_rates_per_s: {DescribeInstances: 7}}")

    rates = settings.rates_per_s()

    assert rates["DescribeInstances"] == 7
    assert rates["AttachNetworkInterface"] == 50
