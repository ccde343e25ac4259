"""The HTTP face: paths, verbs, watches with bookmarks, and what tests break on purpose."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from aiohttp import web

from shared.runtime.loops import cancel
from tests.support.kubernetes.admission import Admission
from tests.support.kubernetes.failures import ApiFailure, bad_request, gone, not_found
from tests.support.kubernetes.kinds import DEFINITIONS, Kind, Object
from tests.support.kubernetes.patches import patched
from tests.support.kubernetes.selectors import selector
from tests.support.kubernetes.store import ObjectStore
from tests.support.kubernetes.tokens import TOKEN_REVIEWS, Tokens

TOKEN = "tests-token"
_BOOKMARK_EVERY_S = 0.2
_TIMEOUT_S_DEFAULT = 300.0


@dataclass(slots=True)
class Faults:
    """What a watch suffers, by chance and by order."""

    rng: random.Random = field(default_factory=lambda: random.Random(1))
    disconnect: float = 0.0  # the chance before each event
    duplicate: float = 0.0
    swap: float = 0.0  # of two neighbours in the row, when they are of different objects
    gone: float = 0.0  # an ERROR event with 410 in the middle of a watch
    forbidden: set[tuple[str, str]] = field(default_factory=set)  # (verb, plural)
    pages_gone: int = 0  # so many second pages are too old to go on from
    is_down: bool = False  # connections are cut without an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request's path, taken apart."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What is left of a list: all its pages are of one version."""

    version: int
    left: list[Object]


class ApiServer:
    """One cluster's API server; `url` and `token` are what a client needs."""

    def __init__(self, *, version: str = "v1.31.0") -> None:
        self.store = ObjectStore()
        self.admission = Admission(self.store)
        self.faults = Faults()
        self.tokens = Tokens()
        self.version = version
        self.url = ""
        self.token = TOKEN
        self.requests: list[tuple[str, str]] = []  # (verb, plural), in order
        self._watchers: set[asyncio.Task[None]] = set()
        self._pages: dict[str, _Page] = {}

    async def cut_watches(self) -> None:
        """Every watch that is open ends without a word."""
        await cancel(self._watchers.copy())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.faults.is_down:
            return _cut(request)
        try:
            return await self._handle(request)
        except ApiFailure as failure:
            refusal = failure
        except json.JSONDecodeError as error:
            refusal = bad_request(f"the body is not JSON: {error}")
        return web.json_response(refusal.status(), status=refusal.code)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise ApiFailure(401, "Unauthorized", "Unauthorized")
        if request.path == "/version":
            major, minor, *_ = self.version.removeprefix("v").split(".")
            return web.json_response(
                {"major": major, "minor": minor, "gitVersion": self.version}
            )
        if request.path == TOKEN_REVIEWS:
            return web.json_response(self.tokens.review(await request.json()), status=201)
        asked = self._parse(request.path)
        verb = _verb(request, asked)
        self.requests.append((verb, asked.kind.plural))
        if (verb, asked.kind.plural) in self.faults.forbidden:
            raise ApiFailure(
                403,
                "Forbidden",
                f'{asked.kind.name} is forbidden: User "tests" cannot {verb} resource'
                f' "{asked.kind.plural}" in API group "{asked.kind.group}"',
            )
        if verb == "watch":
            return await self._watch(request, asked)
        if verb == "list":
            return web.json_response(self._list(request, asked))
        if verb == "get":
            return web.json_response(self.store.get(asked.kind, asked.namespace, asked.name))
        return await self._write(verb, request, asked)

    def _parse(self, path: str) -> _Asked:
        parts = [part for part in path.split("/") if part]
        if parts[:1] == ["api"]:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 2:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise not_found(f'path "{path}"')
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (*rest, "", "", "")[:3]
        kind = self.store.kinds.get((group, version, plural))
        if kind is None:
            raise ApiFailure(
                404, "NotFound", "the server could not find the requested resource"
            )
        return _Asked(kind=kind, namespace=namespace, name=name, subresource=subresource)

    async def _write(
        self, verb: str, request: web.Request, asked: _Asked
    ) -> web.StreamResponse:
        kind, namespace, name = asked.kind, asked.namespace, asked.name
        if verb == "delete":
            return web.json_response(await self._delete(request, asked))
        body = json.loads(await request.read())
        if verb == "create":
            body = await self.admission.admit(kind, namespace, "CREATE", body, None)
            return web.json_response(self.store.create(kind, namespace, body), status=201)
        old = self.store.get(kind, namespace, name)
        if verb == "patch":
            body = patched(request.content_type, old, body)
        if not asked.subresource:
            body = await self.admission.admit(kind, namespace, "UPDATE", body, old)
        return web.json_response(
            self.store.replace(kind, namespace, name, body, subresource=asked.subresource)
        )

    async def _delete(self, request: web.Request, asked: _Asked) -> Object:
        body = json.loads(await request.read() or b"{}")
        grace_s = body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        old = self.store.get(asked.kind, asked.namespace, asked.name)
        wanted_uid = body.get("preconditions", {}).get("uid")
        if wanted_uid and wanted_uid != old["metadata"]["uid"]:
            raise ApiFailure(409, "Conflict", f"the UID in the precondition ({wanted_uid})")
        await self.admission.admit(asked.kind, asked.namespace, "DELETE", old, old)
        return self.store.delete(
            asked.kind,
            asked.namespace,
            asked.name,
            grace_s=None if grace_s is None else int(grace_s),
        )

    def _list(self, request: web.Request, asked: _Asked) -> Object:
        query = request.query
        chosen = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if query.get("continue"):
            page = self._pages.pop(query["continue"], None)
            if self.faults.pages_gone > 0:
                self.faults.pages_gone -= 1
                page = None
            if page is None or page.version < self.store.forgotten:
                raise gone(page.version if page else 0, self.store.forgotten)
        else:
            found = self.store.list(asked.kind, asked.namespace, chosen)
            page = _Page(version=self.store.version, left=found)
        limit = int(query.get("limit", 0)) or len(page.left)
        metadata: Object = {"resourceVersion": str(page.version)}
        if len(page.left) > limit:
            token = metadata["continue"] = uuid.uuid4().hex
            self._pages[token] = _Page(version=page.version, left=page.left[limit:])
        return {
            "kind": f"{asked.kind.kind}List",
            "apiVersion": asked.kind.api_version,
            "metadata": metadata,
            "items": page.left[:limit],
        }

    async def _watch(self, request: web.Request, asked: _Asked) -> web.StreamResponse:
        query = request.query
        chosen = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        version = int(query.get("resourceVersion") or self.store.version)
        self.store.since(asked.kind, version)  # a version that is gone is refused at once
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        stream = _Stream(
            response=response,
            asked=asked,
            chosen=chosen,
            version=version,
            wants_bookmarks=query.get("allowWatchBookmarks") == "true",
        )
        task = asyncio.ensure_future(self._feed(stream))
        self._watchers.add(task)
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds", _TIMEOUT_S_DEFAULT))):
                await asyncio.wait([task])
        except TimeoutError:
            pass
        finally:
            self._watchers.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return response

    async def _feed(self, stream: _Stream) -> None:
        """Events, and bookmarks while nothing happens, until it is cut."""
        while True:
            changed = self.store.changed
            try:
                changes = list(self.store.since(stream.asked.kind, stream.version))
            except ApiFailure as failure:
                await stream.send("ERROR", failure.status())
                return
            events = []
            for each in changes:
                in_sight = stream.asked.namespace in (
                    "",
                    each.last["metadata"].get("namespace"),
                )
                event = each.seen_by(stream.chosen) if in_sight else None
                if event is not None:
                    events.append(event)
                stream.version = each.version
            for kind, found, is_in_order in self._shuffled(events):
                if is_in_order and self._happens(self.faults.gone):
                    await stream.send(
                        "ERROR", gone(stream.version, self.store.version).status()
                    )
                    return
                if is_in_order and self._happens(self.faults.disconnect):
                    return
                await stream.send(kind, found)
            try:
                async with asyncio.timeout(_BOOKMARK_EVERY_S):
                    await changed.wait()
            except TimeoutError:
                await stream.bookmark(self.store.version)

    def _shuffled(self, events: list[tuple[str, Object]]) -> Iterator[tuple[str, Object, bool]]:
        """With some twice, and some neighbours of different objects in each other's place.

        The last part says whether all that is older has been sent: only there a real server
        ends a watch, because whoever resumes asks for what is newer than it has seen.
        """
        row: list[tuple[str, Object]] = []
        for event in events:
            row += [event] * (2 if self._happens(self.faults.duplicate) else 1)
        for at in range(len(row) - 1):
            one, other = row[at][1]["metadata"], row[at + 1][1]["metadata"]
            if one["uid"] != other["uid"] and self._happens(self.faults.swap):
                row[at], row[at + 1] = row[at + 1], row[at]
        versions = [int(found["metadata"]["resourceVersion"]) for _, found in row]
        oldest_left = list(accumulate(reversed(versions), min))[::-1]
        newest_sent = 0
        for (kind, found), version, oldest in zip(row, versions, oldest_left, strict=True):
            yield kind, found, newest_sent < oldest
            newest_sent = max(newest_sent, version)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.faults.rng.random() < chance


@dataclass(slots=True, kw_only=True)
class _Stream:
    response: web.StreamResponse
    asked: _Asked
    chosen: Callable[[Object], bool]
    version: int
    wants_bookmarks: bool

    async def send(self, kind: str, found: Object) -> None:
        line = json.dumps({"type": kind, "object": found}) + "\n"
        await self.response.write(line.encode())

    async def bookmark(self, version: int) -> None:
        if self.wants_bookmarks:
            kind = self.asked.kind
            await self.send(
                "BOOKMARK",
                {
                    "kind": kind.kind,
                    "apiVersion": kind.api_version,
                    "metadata": {"resourceVersion": str(version)},
                },
            )
            self.version = version


def _verb(request: web.Request, asked: _Asked) -> str:
    match request.method:
        case "GET" if asked.name:
            return "get"
        case "GET":
            return "watch" if request.query.get("watch") in ("true", "1") else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete"
    raise ApiFailure(405, "MethodNotAllowed", f"method {request.method}")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def api_server(*, version: str = "v1.31.0", port: int = 0) -> AsyncIterator[ApiServer]:
    """Serves on loopback until the block ends."""
    server = ApiServer(version=version)
    app = web.Application(client_max_size=4 << 20)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, bound = runner.addresses[0][:2]
        server.url = f"http://{host}:{bound}"
        yield server
    finally:
        await server.cut_watches()
        await runner.cleanup()


def definition(group: str, plural: str, kind: str, *, is_namespaced: bool = True) -> Object:
    """The least CustomResourceDefinition of a kind with a status."""
    names: Any = {"plural": plural, "kind": kind}
    return {
        "apiVersion": DEFINITIONS.api_version,
        "kind": DEFINITIONS.kind,
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if is_namespaced else "Cluster",
            "names": names,
            "versions": [
                {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
            ],
        },
    }
