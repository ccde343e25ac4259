"""Enabling checks the version that the API server itself tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.allocator.domain.cluster_checks import (
    check_kubernetes,
)
from services.allocator.kubernetes.facts import AskedKubernetes
from shared.errors import Refused
from shared.kubernetes.client import KubernetesClient
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.server import api_server


@pytest.mark.parametrize(
    ("version", "is_served"), [("v1.31.2-tke.4", True), ("v1.10.0", True), ("v1.9.11", False)]
)
async def test_a_kubernetes_that_is_too_old_is_refused_by_its_version(
    tmp_path: Path, version: str, is_served: bool
) -> None:
    async with api_server(version=version) as server:
        client = await KubernetesClient.connect(kubeconfig(server, tmp_path), timeout_s=5.0)
        facts = await AskedKubernetes(client, uses_cni=True).facts()
        await client.aclose()

    if is_served:
        assert check_kubernetes(facts) is None
    else:
        with pytest.raises(Refused, match=r"1\.9"):
            check_kubernetes(facts)
