"""Folders of objects: which pods and workloads there are, or that it is not known."""

from __future__ import annotations

import json
from pathlib import Path

from services.allocator.adapters.folder_workloads import FolderWorkloads
from services.allocator.domain.retention import Presence, WorkloadSight
from shared.ids import PodName, PodUid, WorkloadName

WEB = WorkloadName("shop", "StatefulSet", "web")
ZERO, ONE = PodName("shop", "web-0"), PodName("shop", "web-1")


def write(folder: Path, file: str, body: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(body), encoding="utf-8")


async def test_a_pod_in_any_nodes_folder_is_there(tmp_path: Path) -> None:
    write(tmp_path / "a", "shop_web-0.json", {"metadata": {"uid": "uid-1"}})
    (tmp_path / "b").mkdir()
    found = FolderWorkloads(f"{tmp_path}/*")

    assert await found.named([ZERO, ONE]) == {ZERO: Presence.PRESENT, ONE: Presence.ABSENT}
    assert await found.objects(ZERO, PodUid("uid-1")) is Presence.PRESENT
    assert await found.objects(ZERO, PodUid("uid-0")) is Presence.ABSENT
    assert await found.objects(ONE, PodUid("uid-1")) is Presence.ABSENT


async def test_a_workload_tells_its_ordinals(tmp_path: Path) -> None:
    body = {
        "kind": "StatefulSet",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"replicas": 2},
    }
    write(tmp_path / "a", "shop_StatefulSet_web.json", body)
    other = WorkloadName("shop", "StatefulSet", "db")

    found = await FolderWorkloads(f"{tmp_path}/*").workloads([WEB, other])

    assert found[WEB] == WorkloadSight(presence=Presence.PRESENT, pods_max=2, ordinals=range(2))
    assert found[other].presence is Presence.ABSENT


async def test_without_a_folder_nothing_is_known(tmp_path: Path) -> None:
    found = FolderWorkloads(f"{tmp_path}/none/*")

    assert await found.named([ZERO]) == {ZERO: Presence.UNKNOWN}
    assert await found.objects(ZERO, PodUid("uid-1")) is Presence.UNKNOWN
    assert (await found.workloads([WEB]))[WEB].presence is Presence.UNKNOWN


async def test_an_object_that_cannot_be_read_is_no_guess(tmp_path: Path) -> None:
    write(tmp_path / "a", "shop_web-0.json", ["no", "object"])
    write(tmp_path / "a", "shop_StatefulSet_web.json", {"kind": "Other"})
    found = FolderWorkloads(f"{tmp_path}/*")

    sight = (await found.workloads([WEB]))[WEB]

    assert await found.objects(ZERO, PodUid("uid-1")) is Presence.UNKNOWN
    assert sight.presence is Presence.UNKNOWN
    assert "shop_StatefulSet_web.json: kind" in sight.detail
