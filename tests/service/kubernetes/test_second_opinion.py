"""List, watch and finalizers against somebody else's emulator of the API server: kmock.

It knows no versions, bookmarks, 409 or 410, so what those are for is tried on our own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import aiohttp.web
import kmock
import pytest
from kubernetes_asyncio.client import ApiClient, Configuration
from prometheus_client import Counter

from shared.errors import NotFound
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import CLAIM
from shared.kubernetes.mirroring import FINALIZER, ObjectWriter, object_of, plan
from shared.kubernetes.watching import Object, ObjectWatch
from shared.runtime.loops import cancel

PODS = "/api/v1/namespaces/shop/pods"
KEY = ("shop", "web-0")
_WAIT_S = 15.0


class Emulator(kmock.KubernetesEmulator):
    """Gives what is made a uid and a version, as every API server does."""

    async def _handle(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        if request.action is kmock.action.CREATE and isinstance(request.data, dict):
            metadata = request.data["metadata"]
            metadata.setdefault("uid", str(uuid4()))
            metadata.setdefault("resourceVersion", "1")
        return await super()._handle(request)


class World:
    def __init__(self, kubernetes: KubernetesClient) -> None:
        self.kubernetes = kubernetes
        counter = Counter("writes", "Of a test.", ["verb", "outcome"], registry=None)
        self.writer = ObjectWriter(kubernetes, writes_per_s=1000, counter=counter)
        self.watches: list[asyncio.Task[None]] = []

    def watch(self, path: str) -> ObjectWatch:
        found = ObjectWatch(self.kubernetes, path, {}, random.Random(1))
        self.watches.append(asyncio.create_task(found.run(), name=path))
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    emulator = Emulator()
    emulator.resources["v1/pods"] = kmock.ResourceInfo(kind="Pod", namespaced=True)
    claims = f"networking.tke.cloud.tencent.com/v1/{CLAIM.plural}"
    emulator.resources[claims] = kmock.ResourceInfo(kind=CLAIM.kind, namespaced=True)
    async with emulator, kmock.Server(emulator) as server:
        configuration = Configuration()
        configuration.host = str(server.url).rstrip("/")
        found = World(KubernetesClient(ApiClient(configuration), timeout_s=5.0))
        yield found
        await cancel(found.watches)
        await found.kubernetes.aclose()


async def until(watch: ObjectWatch, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not is_so():
            await watch.changed.wait(1.0)


def pod(name: str, **labels: str) -> Object:
    return {"metadata": {"namespace": "shop", "name": name, "labels": labels}, "spec": {}}


async def test_what_is_made_changed_and_deleted_is_heard(world: World) -> None:
    await world.kubernetes.create(PODS, pod("web-0"))
    watch = world.watch("/api/v1/pods")
    await until(watch, lambda: set(watch.all()) == {KEY})

    await world.kubernetes.create(PODS, pod("web-1"))
    await until(watch, lambda: ("shop", "web-1") in watch.all())
    await world.kubernetes.patch(f"{PODS}/web-0", {"metadata": {"labels": {"a": "b"}}})
    await until(watch, lambda: watch.all()[KEY]["metadata"]["labels"] == {"a": "b"})
    await world.kubernetes.delete(f"{PODS}/web-1")

    await until(watch, lambda: set(watch.all()) == {KEY})
    assert watch.lists == 1


async def test_a_claim_is_made_changed_and_let_go_through_its_finalizer(world: World) -> None:
    metadata = {"namespace": "shop", "name": "web-0", "labels": {}, "finalizers": [FINALIZER]}
    bound = object_of(CLAIM, metadata, {"type": "tke-route-eni"}, {"phase": "Bound"})
    watch = world.watch(CLAIM.path())
    await until(watch, lambda: watch.lists > 0)

    await world.writer.write(plan(CLAIM, [bound], watch.all()))
    await until(watch, lambda: watch.all().get(KEY, {}).get("status") == {"phase": "Bound"})
    retained = {**bound, "status": {"phase": "Retained"}}
    await world.writer.write(plan(CLAIM, [retained], watch.all()))
    await until(watch, lambda: watch.all()[KEY]["status"] == {"phase": "Retained"})
    assert plan(CLAIM, [retained], watch.all()) == [], "it shows what it is to show"

    path = CLAIM.path(*KEY)
    await world.kubernetes.delete(path)  # as a person does
    await until(watch, lambda: "deletionTimestamp" in watch.all()[KEY]["metadata"])
    assert await world.kubernetes.get(path), "held by the finalizer"
    await world.writer.write(plan(CLAIM, [], watch.all()))

    await until(watch, lambda: not watch.all())
    with pytest.raises(NotFound):
        await world.kubernetes.get(path)
