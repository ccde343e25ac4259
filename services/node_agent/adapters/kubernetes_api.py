"""The little of the Kubernetes API that an agent needs: get, list in pages, watch.

One door to it, over aiohttp: the whole client library would double the agent's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Final

import aiohttp

from shared.errors import BerthError, InvalidInput, Unavailable
from shared.kubernetes.answers import (
    SILENCE_S,
    check_answer,
    event_of,
    list_all,
    watch_query,
)
from shared.kubernetes.watching import Object, WatchEvent

from .kubernetes_access import KubernetesAccess

_PAGE: Final = 100  # pods are large, and a page is held whole
_LINE_BYTES_MAX: Final = 4 << 20  # etcd refuses objects above 1.5 MiB


class KubernetesApi:
    """Every call has a time limit. Raises Unavailable, NotFound or NotAuthorised.

    Of what is listed and watched only what `keep` keeps is held in memory.
    """

    def __init__(
        self, access: KubernetesAccess, *, timeout_s: float, keep: Callable[[Object], Object]
    ) -> None:
        self._access = access
        self._timeout_s = timeout_s
        self._keep = keep
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
                await check_answer(answer, path)
                body: Object = await answer.json()
                return body
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _away(self._access, error) from error

    async def list(self, path: str, query: Mapping[str, str]) -> tuple[list[Object], str]:
        return await list_all(self.get, path, query, self._keep, page=_PAGE)

    async def watch(
        self, path: str, query: Mapping[str, str], version: str
    ) -> AsyncIterator[WatchEvent]:
        """Events after `version`, until the server ends it. Raises WatchGone."""
        try:
            async with self._open().get(
                self._access.url + path,
                params=watch_query(query, version),
                headers=self._access.headers(),
                ssl=self._access.tls or True,
                timeout=aiohttp.ClientTimeout(
                    sock_connect=self._timeout_s, sock_read=SILENCE_S
                ),
            ) as answer:
                await check_answer(answer, path)
                async for line in answer.content:
                    event = event_of(line)
                    yield replace(event, found=self._keep(event.found))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _away(self._access, error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(sock_connect=self._timeout_s),
                read_bufsize=_LINE_BYTES_MAX,
            )
        return self._session


def _away(access: KubernetesAccess, error: Exception) -> BerthError:
    if isinstance(error, aiohttp.InvalidURL):
        return InvalidInput(f"Kubernetes: {access.url} is no URL")
    return Unavailable(
        f"Kubernetes at {access.url} does not answer: {str(error) or type(error).__name__}"
    )
