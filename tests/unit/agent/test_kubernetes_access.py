"""How an agent finds its API server: a pod's service account, or a kubeconfig."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.allocator.kubernetes.certificates import new_authority
from services.node_agent.adapters.kubernetes_access import from_kubeconfig, in_cluster
from shared.errors import InvalidInput, Refused, Unavailable


def kubeconfig(folder: Path, **user: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8001/"}}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "config"
    file.write_text(yaml.safe_dump(document))
    return file


def test_a_kubeconfig_gives_the_server_and_the_token(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, token="secret"))

    assert found.url == "http://127.0.0.1:8001"
    assert found.headers() == {"Authorization": "Bearer secret"}


def test_a_token_file_is_read_for_every_call(tmp_path: Path) -> None:
    token = tmp_path / "token"
    found = from_kubeconfig(kubeconfig(tmp_path, tokenFile="token"))
    seen = []
    for text in ("first", "second"):
        token.write_text(text)
        seen.append(found.headers()["Authorization"])
    token.unlink()

    assert seen == ["Bearer first", "Bearer second"]
    with pytest.raises(Unavailable, match="token file"):
        found.headers()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"current-context": "there"}, "current-context: 'there'.*allowed: here"),
        ({"clusters": []}, "cluster: 'c'.*none is defined"),
        ({"users": []}, "user: 'u'"),
        ({"contexts": None}, "contexts"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, "server"),
    ],
)
def test_what_is_wrong_in_a_kubeconfig_is_named(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    file = kubeconfig(tmp_path, token="secret")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change))

    with pytest.raises(InvalidInput, match=problem) as refusal:
        from_kubeconfig(file)

    assert "secret" not in str(refusal.value)


def test_an_exec_plugin_is_refused_with_what_to_use(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, exec={"command": "login"})

    with pytest.raises(InvalidInput, match="token file"):
        from_kubeconfig(file)


def test_a_pod_of_a_cluster_finds_it_by_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(new_authority("tests", datetime.now(UTC)).certificate)
    (tmp_path / "token").write_text("of-the-pod\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    found = in_cluster(environment, tmp_path)

    assert found.url == "https://[fd00::1]:6443"
    assert found.headers() == {"Authorization": "Bearer of-the-pod"}


def test_outside_a_cluster_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="kubernetes_config"):
        in_cluster({}, tmp_path)


def test_a_service_account_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"ca\.crt"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
