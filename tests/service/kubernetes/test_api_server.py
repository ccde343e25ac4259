"""The tests' own API server behaves as the real one where our services depend on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.kubernetes.kinds import NODES, PODS, Object
from tests.support.kubernetes.server import ApiServer, api_server, definition

POD_PATH = "/api/v1/namespaces/shop/pods"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as found:
        yield found


@pytest.fixture
async def http(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        yield session


def pod(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": spec}


async def said(
    http: aiohttp.ClientSession, verb: str, path: str, body: Any = None, **more: Any
) -> tuple[int, Object]:
    async with http.request(verb, path, json=body, **more) as answer:
        return answer.status, await answer.json()


async def test_a_stale_update_is_a_conflict_and_changes_nothing(
    http: aiohttp.ClientSession,
) -> None:
    _, first = await said(http, "POST", POD_PATH, pod("web-0"))
    _, second = await said(http, "PUT", f"{POD_PATH}/web-0", {**first, "spec": {"x": 1}})

    status, refusal = await said(http, "PUT", f"{POD_PATH}/web-0", {**first, "spec": {"x": 2}})

    assert (status, refusal["reason"]) == (409, "Conflict")
    assert (await said(http, "GET", f"{POD_PATH}/web-0"))[1] == second


async def test_a_write_of_the_object_leaves_its_status_alone_and_the_other_way_round(
    http: aiohttp.ClientSession,
) -> None:
    await said(http, "POST", "/api/v1/nodes", {"metadata": {"name": "n"}, "spec": {"a": 1}})

    await said(
        http,
        "PATCH",
        "/api/v1/nodes/n/status",
        {"status": {"ready": True}, "spec": {"a": 2}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    _, found = await said(
        http,
        "PATCH",
        "/api/v1/nodes/n",
        {"status": {"ready": False}, "spec": {"a": 3}},
        headers={"Content-Type": "application/merge-patch+json"},
    )

    assert (found["spec"], found["status"]) == ({"a": 3}, {"ready": True})


async def test_an_object_with_a_finalizer_goes_when_the_last_one_does(
    http: aiohttp.ClientSession, server: ApiServer
) -> None:
    body = {"metadata": {"name": "n", "finalizers": ["tests/hold"]}}
    await said(http, "POST", "/api/v1/nodes", body)

    _, held = await said(http, "DELETE", "/api/v1/nodes/n")
    patch = [{"op": "remove", "path": "/metadata/finalizers/0"}]
    await said(
        http,
        "PATCH",
        "/api/v1/nodes/n",
        patch,
        headers={"Content-Type": "application/json-patch+json"},
    )

    assert held["metadata"]["deletionTimestamp"]
    assert (await said(http, "GET", "/api/v1/nodes/n"))[0] == 404
    assert server.store.list(NODES, "", lambda _: True) == []


async def test_a_watch_tells_what_came_after_its_version_and_bookmarks(
    http: aiohttp.ClientSession,
) -> None:
    _, first = await said(http, "POST", POD_PATH, pod("web-0", nodeName="a"))
    await said(http, "POST", POD_PATH, pod("web-1", nodeName="a"))
    await said(http, "POST", POD_PATH, pod("db-0", nodeName="b"))
    await said(http, "DELETE", f"{POD_PATH}/web-0?gracePeriodSeconds=0")
    query = {
        "watch": "true",
        "resourceVersion": first["metadata"]["resourceVersion"],
        "fieldSelector": "spec.nodeName=a",
        "allowWatchBookmarks": "true",
    }

    seen = []
    async with http.get("/api/v1/pods", params=query) as answer:
        async for line in answer.content:
            event = json.loads(line)
            seen.append((event["type"], event["object"]["metadata"].get("name")))
            if event["type"] == "BOOKMARK":
                break

    assert seen == [("ADDED", "web-1"), ("DELETED", "web-0"), ("BOOKMARK", None)]


async def test_a_watch_of_a_version_that_was_compacted_is_gone(
    http: aiohttp.ClientSession, server: ApiServer
) -> None:
    await said(http, "POST", POD_PATH, pod("web-0"))
    server.store.compact()

    status, refusal = await said(http, "GET", "/api/v1/pods?watch=true&resourceVersion=1")

    assert (status, refusal["reason"]) == (410, "Expired")


async def test_a_list_comes_in_pages(http: aiohttp.ClientSession) -> None:
    for number in range(5):
        await said(http, "POST", POD_PATH, pod(f"web-{number}"))

    _, first = await said(http, "GET", "/api/v1/pods?limit=3")
    token = first["metadata"]["continue"]
    _, rest = await said(http, "GET", f"/api/v1/pods?limit=3&continue={token}")

    names = [each["metadata"]["name"] for page in (first, rest) for each in page["items"]]
    assert names == [f"web-{number}" for number in range(5)]
    assert "continue" not in rest["metadata"]


async def test_a_definition_brings_its_kind(http: aiohttp.ClientSession) -> None:
    path = "/apis/tests.example/v1/namespaces/shop/things"
    before, _ = await said(http, "POST", path, {"metadata": {"name": "one"}})
    await said(
        http,
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        definition("tests.example", "things", "Thing"),
    )

    after, made = await said(http, "POST", path, {"metadata": {"name": "one"}})

    assert (before, after) == (404, 201)
    assert (made["kind"], made["apiVersion"]) == ("Thing", "tests.example/v1")


async def test_who_shows_no_token_or_has_no_right_is_refused(
    http: aiohttp.ClientSession, server: ApiServer
) -> None:
    server.faults.forbidden.add(("list", PODS.plural))

    status, refusal = await said(http, "GET", "/api/v1/pods")
    async with aiohttp.ClientSession(server.url) as stranger:
        stranger_status, _ = await said(stranger, "GET", "/api/v1/nodes")

    assert (status, stranger_status) == (403, 401)
    assert 'cannot list resource "pods"' in refusal["message"]
