"""The folder of Pod objects: what a pod is, or that it is not known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.node_agent.adapters.pod_objects import metadata_only
from services.node_agent.adapters.pods import FolderPods
from services.node_agent.domain.ports import PodOwner
from shared.annotations import NETWORKS, DeletePolicy
from shared.errors import InvalidInput, PodUnknown
from shared.ids import PodName, PodUid, WorkloadName
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


def _write(tmp_path: Path, file: str, body: dict[str, object]) -> None:
    (tmp_path / "pods" / file).write_text(json.dumps(body), encoding="utf-8")


def _owned(tmp_path: Path, kind: str, owner: str, policy: str = "Never") -> PodName:
    """A pod and the reference to what made it; the objects themselves are the test's."""
    name = write_pod(tmp_path, "web-7f-x2", "uid-1", policy=policy)
    file = tmp_path / "pods" / "shop_web-7f-x2.json"
    pod = json.loads(file.read_text(encoding="utf-8"))
    reference = {"kind": kind, "name": owner, "controller": True}
    pod["metadata"]["ownerReferences"] = [reference]
    file.write_text(json.dumps(pod), encoding="utf-8")
    return name


async def test_the_pods_of_a_deployment_are_counted_through_its_replica_set(
    tmp_path: Path,
) -> None:
    name = _owned(tmp_path, "ReplicaSet", "web-7f")
    web = {"kind": "Deployment", "name": "web", "controller": True}
    meta = {"namespace": "shop", "name": "web-7f", "ownerReferences": [web]}
    _write(
        tmp_path,
        "shop_ReplicaSet_web-7f.json",
        {"kind": "ReplicaSet", "metadata": meta, "spec": {"replicas": 1}},
    )
    spec = {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 2}}}
    _write(
        tmp_path,
        "shop_Deployment_web.json",
        {"kind": "Deployment", "metadata": {"namespace": "shop", "name": "web"}, "spec": spec},
    )

    pod = await FolderPods(tmp_path / "pods").find(name, None)

    assert pod.owner == PodOwner(workload=WorkloadName("shop", "Deployment", "web"), pods_max=5)


async def test_the_pods_of_a_stateful_set_have_names_that_come_back(tmp_path: Path) -> None:
    name = _owned(tmp_path, "StatefulSet", "db")

    pod = await FolderPods(tmp_path / "pods").find(name, None)

    assert pod.owner == PodOwner(
        workload=WorkloadName("shop", "StatefulSet", "db"), pods_max=None
    )


async def test_a_workload_that_is_not_known_yet_is_no_guess(tmp_path: Path) -> None:
    name = _owned(tmp_path, "ReplicaSet", "web-7f")

    with pytest.raises(PodUnknown, match="ReplicaSet shop/web-7f is not known"):
        await FolderPods(tmp_path / "pods").find(name, None)


async def test_never_is_refused_where_pods_have_neither_name_nor_number(
    tmp_path: Path,
) -> None:
    name = _owned(tmp_path, "DaemonSet", "log")

    with pytest.raises(InvalidInput, match=r"DaemonSet shop/log: 'Never' .* Immediate"):
        await FolderPods(tmp_path / "pods").find(name, None)


async def test_an_immediate_pod_needs_nothing_known_of_its_workload(tmp_path: Path) -> None:
    name = _owned(tmp_path, "DaemonSet", "log", policy="Immediate")

    pod = await FolderPods(tmp_path / "pods").find(name, None)

    assert pod.owner is None


def test_of_a_watched_pod_only_what_an_agent_reads_is_kept() -> None:
    metadata = {"name": "web-0", "namespace": "shop", "uid": "u1", "resourceVersion": "7"}
    told = {NETWORKS: "tke-route-eni", "somebody.else/says": "x" * 1000}
    whole = {
        "metadata": metadata | {"annotations": told, "managedFields": [{}], "labels": {}},
        "spec": {"containers": [{}]},
    }
    bookmark = {"metadata": {"resourceVersion": "9"}}

    assert metadata_only(whole) == {
        "metadata": metadata | {"annotations": {NETWORKS: "tke-route-eni"}}
    }
    assert metadata_only(bookmark)["metadata"]["resourceVersion"] == "9"
