"""The one door to kubernetes-asyncio: objects as JSON, with errors of ours and time limits.

For services that live once in a cluster. The client library costs 36 MiB, so a node's agent has
a small client of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config.config_exception import ConfigException

from shared.errors import NotFound, Refused, Unavailable

from .answers import SILENCE_S, check_answer, event_of, list_all, watch_query
from .watching import Object, WatchEvent

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"


class KubernetesClient:
    """Raises Unavailable, NotFound, NotAuthorised, InvalidInput or ObjectConflict."""

    def __init__(self, client: ApiClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    @classmethod
    async def connect(cls, kubeconfig: Path | None, *, timeout_s: float) -> KubernetesClient:
        """By a kubeconfig, else by the service account of this pod. Nothing is asked yet."""
        configuration = Configuration()
        try:
            if kubeconfig is None:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(
                    str(kubeconfig), client_configuration=configuration, persist_config=False
                )
        except (ConfigException, OSError) as error:
            where = "this is no pod of a cluster" if kubeconfig is None else str(kubeconfig)
            raise Refused(f"kubernetes_config: {where}: {error}") from error
        return cls(ApiClient(configuration), timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._client.close()

    async def version(self) -> str:
        """As the server calls it: v1.31.0, v1.30.2-tke.4."""
        return str((await self.get("/version"))["gitVersion"])

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        return await self._request("GET", path, query=query)

    async def create(self, path: str, body: Object) -> Object:
        return await self._request("POST", path, body=body)

    async def replace(self, path: str, body: Object) -> Object:
        """ObjectConflict when the body's resourceVersion is not the newest."""
        return await self._request("PUT", path, body=body)

    async def patch(self, path: str, body: Any, *, kind: str = MERGE_PATCH) -> Object:
        return await self._request("PATCH", path, body=body, content_type=kind)

    async def delete(self, path: str, *, uid: str | None = None) -> None:
        """Of that uid only, where one is named. What is gone already is no error."""
        body = {} if uid is None else {"preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", path, body=body)
        except NotFound:
            return

    async def list(self, path: str, query: Mapping[str, str]) -> tuple[list[Object], str]:
        return await list_all(self.get, path, query)

    async def watch(
        self, path: str, query: Mapping[str, str], version: str
    ) -> AsyncIterator[WatchEvent]:
        asked = watch_query(query, version)
        limit = aiohttp.ClientTimeout(sock_connect=self._timeout_s, sock_read=SILENCE_S)
        try:
            answer = await self._call("GET", path, asked, None, "application/json", limit)
            async with answer:
                await check_answer(answer, path)
                async for line in answer.content:
                    yield event_of(line)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"Kubernetes, watch of {path}: {_said(error)}") from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        limit = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._call(method, path, query or {}, body, content_type, limit)
                async with answer:
                    await check_answer(answer, path)
                    found: Object = await answer.json()
                    return found
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"Kubernetes, {method} {path}: {_said(error)}") from error

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        answer: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params={"Content-Type": content_type, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limit,
        )
        return answer


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
