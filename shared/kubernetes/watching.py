"""Objects of one kind, listed once and then watched.

What was heard stays known while the API server is away. Events may come twice or, after a
resumed watch, older than what is known: of one object only a newer version counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from shared.errors import BerthError
from shared.runtime.backoff import backoff_s
from shared.runtime.pulse import Pulse

log = logging.getLogger(__name__)

Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]  # namespace ("" where there is none) and name

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 30.0


class WatchGone(Exception):
    """The version to watch from, or to page on from, is too old: list again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, with the object."""

    kind: str
    found: Object

    @property
    def version(self) -> str:
        return str(self.found["metadata"]["resourceVersion"])


class WatchableApi(Protocol):
    """What a watch needs of an API client."""

    async def list(self, path: str, query: Mapping[str, str]) -> tuple[list[Object], str]:
        """All objects, and the version to watch from."""
        ...

    def watch(
        self, path: str, query: Mapping[str, str], version: str
    ) -> AsyncIterator[WatchEvent]:
        """Events after `version`, until the server ends it. Raises WatchGone."""
        ...


class ObjectWatch:
    """Keeps the objects of one path in mind; `run` is kept by the service's supervisor."""

    def __init__(
        self, api: WatchableApi, path: str, query: Mapping[str, str], rng: random.Random
    ) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._rng = rng
        self._known: dict[Key, Object] = {}
        self.changed = Pulse()
        self.lists = 0  # how often everything had to be asked for

    def find(self, namespace: str, name: str) -> Object | None:
        return self._known.get((namespace, name))

    def all(self) -> Mapping[Key, Object]:
        return self._known

    async def run(self) -> None:
        """List, then watch from there; a watch that ends is resumed where it was."""
        version: str | None = None
        waits = self._waits()
        while True:
            try:
                if version is None:
                    version = await self._list()
                async for event in self._api.watch(self._path, self._query, version):
                    if not _is_older(event.version, version):
                        version = event.version
                    self._hear(event)
                    waits = self._waits()
            except WatchGone:
                version = None
            except BerthError as error:
                log.warning(
                    "objects cannot be watched", extra={"path": self._path, "error": str(error)}
                )
            await asyncio.sleep(next(waits))

    def _waits(self) -> Iterator[float]:
        return backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)

    async def _list(self) -> str:
        found, version = await self._api.list(self._path, self._query)
        self.lists += 1
        self._known = {key_of(body): body for body in found}
        self.changed.give()
        return version

    def _hear(self, event: WatchEvent) -> None:
        if event.kind == "BOOKMARK":
            return
        key = key_of(event.found)
        known = self._known.get(key)
        if known is not None and _is_older(event.version, _version(known)):
            return
        if event.kind != "DELETED":
            self._known[key] = event.found
        elif known is not None and known["metadata"]["uid"] == event.found["metadata"]["uid"]:
            del self._known[key]
        self.changed.give()


def key_of(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _version(found: Object) -> str:
    return str(found["metadata"]["resourceVersion"])


def _is_older(version: str, than: str) -> bool:
    """Versions are numbers in every API server there is; one that is not is believed."""
    is_comparable = version.isdecimal() and than.isdecimal()
    return is_comparable and int(version) < int(than)
