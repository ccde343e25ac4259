"""What a pod is, asked of the API server: known, unknown, or not to be had now."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.node_agent.adapters.kubernetes_access import KubernetesAccess
from services.node_agent.adapters.kubernetes_api import KubernetesApi
from services.node_agent.adapters.kubernetes_pods import KubernetesPods, watch_pods
from services.node_agent.adapters.pod_objects import metadata_only
from shared.annotations import DELETE_POLICY, DeletePolicy
from shared.errors import InvalidInput, PodUnknown, Unavailable
from shared.ids import NodeName, PodName, PodUid
from shared.kubernetes.watching import ObjectWatch
from shared.runtime.loops import Loops
from tests.support.kubernetes.kinds import DEPLOYMENTS, PODS, REPLICA_SETS, Object
from tests.support.kubernetes.server import ApiServer, api_server

NODE = NodeName("node-a")
NAME = PodName("shop", "web-0")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as found:
        yield found


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[KubernetesApi]:
    access = KubernetesAccess(url=server.url, tls=None, token=server.token)
    found = KubernetesApi(access, timeout_s=5.0, keep=metadata_only)
    yield found
    await found.aclose()


@pytest.fixture
def watch(api: KubernetesApi) -> ObjectWatch:
    return watch_pods(api, NODE, random.Random(1))


def make(server: ApiServer, *owners: Object, **annotations: str) -> PodUid:
    body: dict[str, Any] = {
        "metadata": {
            "name": NAME.name,
            "annotations": annotations,
            "ownerReferences": list(owners),
        },
        "spec": {"nodeName": NODE},
    }
    return PodUid(server.store.create(PODS, NAME.namespace, body)["metadata"]["uid"])


def owner(kind: str, name: str) -> Object:
    return {"kind": kind, "name": name, "controller": True}


async def test_a_pod_that_the_watch_has_not_told_of_is_asked_for(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    uid = make(server, **{DELETE_POLICY: "Never"})

    found = await KubernetesPods(api, watch).find(NAME, uid)

    assert (found.uid, found.network.policy) == (uid, DeletePolicy.NEVER)


async def test_a_pod_that_was_heard_of_is_known_while_the_server_is_away(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    uid = make(server)
    async with Loops(random.Random(1)) as loops:
        loops.keep("pods", watch.run)
        while watch.find(NAME.namespace, NAME.name) is None:
            assert await watch.changed.wait(10.0), "the watch told of nothing"
    server.faults.is_down = True

    found = await KubernetesPods(api, watch).find(NAME, uid)

    assert found.uid == uid


async def test_a_pod_that_the_server_does_not_know_is_unknown_and_never_guessed(
    api: KubernetesApi, watch: ObjectWatch
) -> None:
    with pytest.raises(PodUnknown, match="not known"):
        await KubernetesPods(api, watch).find(NAME, PodUid("uid-1"))


async def test_a_server_that_cannot_be_asked_says_nothing_of_a_pod(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    server.faults.is_down = True

    with pytest.raises(Unavailable, match="does not answer"):
        await KubernetesPods(api, watch).find(NAME, PodUid("uid-1"))


async def test_a_pod_of_another_uid_is_not_the_one_that_is_asked_for(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    uid = make(server)

    with pytest.raises(PodUnknown, match=uid):
        await KubernetesPods(api, watch).find(NAME, PodUid("uid-of-its-predecessor"))


async def test_a_value_that_is_not_allowed_is_refused_by_name(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    uid = make(server, **{DELETE_POLICY: "Sometimes"})

    with pytest.raises(InvalidInput, match="Immediate or Never"):
        await KubernetesPods(api, watch).find(NAME, uid)


async def test_a_deployments_pod_is_known_with_the_number_of_its_pods(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    deployment = {"metadata": {"name": "web"}, "spec": {"replicas": 3}}
    replica_set = {
        "metadata": {"name": "web-1", "ownerReferences": [owner("Deployment", "web")]},
        "spec": {"replicas": 3},
    }
    server.store.create(DEPLOYMENTS, "shop", deployment)
    server.store.create(REPLICA_SETS, "shop", replica_set)
    uid = make(server, owner("ReplicaSet", "web-1"), **{DELETE_POLICY: "Never"})

    found = await KubernetesPods(api, watch).find(NAME, uid)

    assert found.owner is not None
    assert (str(found.owner.workload.kind), found.owner.workload.name) == ("Deployment", "web")
    assert found.owner.pods_max == 4  # three, and a quarter of them, rounded up, at a rollout


async def test_a_right_that_is_missing_is_named(
    server: ApiServer, api: KubernetesApi, watch: ObjectWatch
) -> None:
    server.faults.forbidden.add(("get", PODS.plural))

    with pytest.raises(Unavailable, match='cannot get resource "pods"'):
        await KubernetesPods(api, watch).find(NAME, None)
