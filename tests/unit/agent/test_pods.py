"""The folder of Pod objects: what a pod is, or that it is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.node_agent.adapters.pods import FolderPods
from shared.annotations import DeletePolicy
from shared.errors import InvalidInput, PodUnknown
from shared.ids import PodName, PodUid
from tests.support.agent_world import write_pod


async def test_a_pod_is_read_with_its_policy(tmp_path: Path) -> None:
    name = write_pod(tmp_path, "db-0", "uid-1", policy="Never")

    pod = await FolderPods(tmp_path / "pods").find(name, PodUid("uid-1"))

    assert pod.network.policy is DeletePolicy.NEVER
    assert pod.uid == "uid-1"


async def test_an_unknown_policy_names_what_is_allowed(tmp_path: Path) -> None:
    name = write_pod(tmp_path, "db-0", "uid-1", policy="Sometimes")

    with pytest.raises(InvalidInput, match="Immediate or Never"):
        await FolderPods(tmp_path / "pods").find(name, PodUid("uid-1"))


@pytest.mark.parametrize("name", ["absent", "../db-0", "db-0\0"])
async def test_a_pod_without_a_file_is_unknown(tmp_path: Path, name: str) -> None:
    write_pod(tmp_path, "db-0", "uid-1")

    with pytest.raises(PodUnknown):
        await FolderPods(tmp_path / "pods").find(PodName("shop", name), None)


async def test_another_uid_is_another_pod(tmp_path: Path) -> None:
    name = write_pod(tmp_path, "db-0", "uid-2")

    with pytest.raises(PodUnknown, match="uid-2"):
        await FolderPods(tmp_path / "pods").find(name, PodUid("uid-1"))
