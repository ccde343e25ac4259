"""The little of the Kubernetes API that an agent needs: get, list in pages, watch.

One door to it, over aiohttp: the whole client library would double the agent's memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from shared.errors import BerthError, InvalidInput, NotAuthorised, NotFound, Unavailable
from shared.kubernetes.watching import Object, WatchEvent, WatchGone

from .kubernetes_access import KubernetesAccess

_PAGE: Final = 500
_LINE_BYTES_MAX: Final = 4 << 20  # etcd refuses objects above 1.5 MiB
_WATCH_S: Final = 300  # the server ends a watch after this time; the next resumes
_SILENCE_S: Final = _WATCH_S + 30.0


class KubernetesApi:
    """Every call has a time limit. Raises Unavailable, NotFound or NotAuthorised."""

    def __init__(self, access: KubernetesAccess, *, timeout_s: float) -> None:
        self._access = access
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open().get(
                    self._access.url + path,
                    params=query,
                    headers=self._access.headers(),
                    ssl=self._access.tls or True,
                ) as answer,
            ):
                await _check(answer, path)
                body: Object = await answer.json()
                return body
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _away(self._access, error) from error

    async def list(self, path: str, query: Mapping[str, str]) -> tuple[list[Object], str]:
        """All objects, fetched in pages, and the version to watch from."""
        found: list[Object] = []
        asked = {**query, "limit": str(_PAGE)}
        while True:
            page = await self.get(path, asked)
            found += page.get("items") or []
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return found, str(metadata["resourceVersion"])
            asked["continue"] = metadata["continue"]

    async def watch(
        self, path: str, query: Mapping[str, str], version: str
    ) -> AsyncIterator[WatchEvent]:
        """Events after `version`, until the server ends it. Raises WatchGone."""
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_S),
        }
        try:
            async with self._open().get(
                self._access.url + path,
                params=asked,
                headers=self._access.headers(),
                ssl=self._access.tls or True,
                timeout=aiohttp.ClientTimeout(
                    sock_connect=self._timeout_s, sock_read=_SILENCE_S
                ),
            ) as answer:
                await _check(answer, path)
                async for line in answer.content:
                    yield _event(line)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _away(self._access, error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(sock_connect=self._timeout_s),
                read_bufsize=_LINE_BYTES_MAX,
            )
        return self._session


async def _check(answer: aiohttp.ClientResponse, path: str) -> None:
    if answer.status < 400:
        return
    text = (await answer.text())[:4096]
    try:
        reason = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        reason = text[:256]
    match answer.status:
        case 401 | 403:
            raise NotAuthorised(f"Kubernetes refuses {path}: {reason}")
        case 404:
            raise NotFound(f"Kubernetes, {path}: {reason}")
        case 410:
            raise WatchGone
    raise Unavailable(f"Kubernetes, {path}: {answer.status}: {reason}")


def _event(line: bytes) -> WatchEvent:
    body = json.loads(line)
    kind, found = body["type"], body["object"]
    if kind == "ERROR":
        if found.get("code") == 410:
            raise WatchGone
        raise Unavailable(f"Kubernetes ended a watch: {found.get('message')}")
    return WatchEvent(kind=kind, found=found)


def _away(access: KubernetesAccess, error: Exception) -> BerthError:
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidInput(f"Kubernetes: {access.url} is no URL")
    return Unavailable(
        f"Kubernetes at {access.url} does not answer: {error or type(error).__name__}"
    )
