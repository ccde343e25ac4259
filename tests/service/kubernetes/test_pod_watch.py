"""A node's pods stay known through everything that happens to a watch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from services.node_agent.adapters.kubernetes_access import KubernetesAccess
from services.node_agent.adapters.kubernetes_api import KubernetesApi
from services.node_agent.adapters.kubernetes_pods import watch_pods
from services.node_agent.adapters.pod_objects import metadata_only
from shared.annotations import NETWORKS
from shared.ids import NodeName
from shared.kubernetes.watching import ObjectWatch
from shared.runtime.loops import Loops
from tests.support.kubernetes.kinds import PODS, Object
from tests.support.kubernetes.server import ApiServer, api_server

NODE = NodeName("node-a")
_WAIT_S = 20.0
PODS_MANY = 10_000


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as found:
        yield found


@pytest.fixture
async def watch(server: ApiServer) -> AsyncIterator[ObjectWatch]:
    access = KubernetesAccess(url=server.url, tls=None, token=server.token)
    api = KubernetesApi(access, timeout_s=5.0, keep=metadata_only)
    async with Loops(random.Random(1)) as loops:
        found = watch_pods(api, NODE, random.Random(2))
        loops.keep("pods", found.run)
        yield found
    await api.aclose()


def add(server: ApiServer, name: str, node: str = NODE, **annotations: str) -> Object:
    body = {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"nodeName": node},
    }
    return server.store.create(PODS, "shop", body)


async def until(watch: ObjectWatch, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not is_so():
            await watch.changed.wait(_WAIT_S)


def names(watch: ObjectWatch) -> set[str]:
    return {name for _, name in watch.all()}


async def test_pods_of_this_node_are_known_and_others_are_not(
    server: ApiServer, watch: ObjectWatch
) -> None:
    add(server, "before")
    await until(watch, lambda: watch.lists == 1)

    add(server, "after")
    add(server, "elsewhere", node="node-b")
    add(server, "last")
    await until(watch, lambda: "last" in names(watch))

    assert names(watch) == {"before", "after", "last"}


async def test_a_pod_made_again_under_its_name_is_the_new_one(
    server: ApiServer, watch: ObjectWatch
) -> None:
    add(server, "web-0")
    await until(watch, lambda: "web-0" in names(watch))

    server.store.delete(PODS, "shop", "web-0", grace_s=0)
    made = add(server, "web-0")
    await until(watch, lambda: watch.find("shop", "web-0") == metadata_only(made))

    assert watch.lists == 1


async def test_a_watch_that_is_cut_goes_on_without_a_list(
    server: ApiServer, watch: ObjectWatch
) -> None:
    add(server, "web-0")
    await until(watch, lambda: "web-0" in names(watch))

    await server.cut_watches()
    add(server, "web-1")
    await until(watch, lambda: "web-1" in names(watch))

    assert watch.lists == 1


async def test_a_version_that_is_gone_leads_to_a_list(
    server: ApiServer, watch: ObjectWatch
) -> None:
    add(server, "web-0")
    await until(watch, lambda: "web-0" in names(watch))

    server.faults.is_down = True
    await server.cut_watches()
    server.store.delete(PODS, "shop", "web-0", grace_s=0)
    server.store.compact()
    server.faults.is_down = False
    await until(watch, lambda: watch.lists == 2)

    assert names(watch) == set()


async def test_what_was_heard_stays_known_while_the_server_is_away(
    server: ApiServer, watch: ObjectWatch
) -> None:
    add(server, "web-0")
    await until(watch, lambda: "web-0" in names(watch))

    server.faults.is_down = True
    await server.cut_watches()

    assert names(watch) == {"web-0"}


async def test_after_a_torture_the_pods_known_are_the_servers(
    server: ApiServer, watch: ObjectWatch
) -> None:
    """10,000 pods made, changed and deleted while watches are cut, gone, repeated, swapped."""
    rng = random.Random(7)
    server.faults.rng = random.Random(8)
    server.faults.disconnect = server.faults.gone = 0.002
    server.faults.duplicate = server.faults.swap = 0.05
    for number in range(PODS_MANY):
        add(server, f"pod-{number}")
        victim = f"pod-{rng.randrange(number + 1)}"
        if rng.random() < 0.3 and ("shop", victim) in server.store.keys(PODS):
            if rng.random() < 0.5:
                server.store.delete(PODS, "shop", victim, grace_s=0)
            else:
                server.store.change(PODS, "shop", victim, touch)
        if number % 100 == 0:  # the watch is to see much of it happen, not list it at the end
            await watch.changed.wait(_WAIT_S)
    server.faults.disconnect = server.faults.gone = 0.0
    add(server, "the-last")
    await until(watch, lambda: "the-last" in names(watch))

    there = server.store.list(PODS, "", any_pod)
    wanted = {each["metadata"]["name"]: metadata_only(each) for each in there}
    # What stood beside the last pod in the row may come after it.
    await until(watch, lambda: known(watch) == wanted)

    assert len(wanted) > PODS_MANY / 2
    assert server.requests.count(("watch", "pods")) > 3, "no watch was cut"
    assert watch.lists > 1, "no watch was gone: nothing was proved"


def known(watch: ObjectWatch) -> dict[str, Object]:
    return {name: found for (_, name), found in watch.all().items()}


def touch(found: Object) -> None:
    found["metadata"]["annotations"][NETWORKS] = "touched"


def any_pod(_: Object) -> bool:
    return True
