"""The pods of one node as the API server tells of them: listed once, then watched.

What was heard stays known while the API server is away. Events may come twice or, after a
resumed watch, older than what is known: of one pod only a newer version counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from services.node_agent.bus import Pulse
from shared.errors import BerthError
from shared.ids import NodeName, PodName
from shared.runtime.backoff import backoff_s

from .kubernetes_api import KubernetesApi, WatchEvent, WatchGone

log = logging.getLogger(__name__)

PODS: Final = "/api/v1/pods"
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    uid: str
    version: str
    body: dict[str, Any]


class PodWatch:
    """Keeps this node's pods in mind; `run` is kept by the agent's supervisor."""

    def __init__(self, api: KubernetesApi, node: NodeName, rng: random.Random) -> None:
        self._api = api
        self._query = {"fieldSelector": f"spec.nodeName={node}"}
        self._rng = rng
        self._known: dict[PodName, _Known] = {}
        self.changed = Pulse()
        self.lists = 0  # how often everything had to be asked for

    def find(self, name: PodName) -> dict[str, Any] | None:
        known = self._known.get(name)
        return None if known is None else known.body

    def names(self) -> list[PodName]:
        return list(self._known)

    async def run(self) -> None:
        """List, then watch from there; a watch that ends is resumed where it was."""
        version: str | None = None
        waits = self._waits()
        while True:
            try:
                if version is None:
                    version = await self._list()
                async for event in self._api.watch(PODS, self._query, version):
                    if not _is_older(event.version, version):
                        version = event.version
                    self._hear(event)
                    waits = self._waits()
            except WatchGone:
                version = None
            except BerthError as error:
                log.warning("pods cannot be watched", extra={"error": str(error)})
            await asyncio.sleep(next(waits))

    def _waits(self) -> Iterator[float]:
        return backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)

    async def _list(self) -> str:
        found, version = await self._api.list(PODS, self._query)
        self.lists += 1
        self._known = {_name(body): _of(body) for body in found}
        self.changed.give()
        return version

    def _hear(self, event: WatchEvent) -> None:
        if event.kind == "BOOKMARK":
            return
        heard, name = _of(event.found), _name(event.found)
        known = self._known.get(name)
        if known is not None and _is_older(heard.version, known.version):
            return
        if event.kind != "DELETED":
            self._known[name] = heard
        elif known is not None and known.uid == heard.uid:
            del self._known[name]
        self.changed.give()


def _of(body: dict[str, Any]) -> _Known:
    metadata = body["metadata"]
    return _Known(uid=metadata["uid"], version=str(metadata["resourceVersion"]), body=body)


def _name(body: dict[str, Any]) -> PodName:
    return PodName(body["metadata"]["namespace"], body["metadata"]["name"])


def _is_older(version: str, than: str) -> bool:
    """Versions are numbers in every API server there is; one that is not is believed."""
    is_comparable = version.isdecimal() and than.isdecimal()
    return is_comparable and int(version) < int(than)
