"""Every node's book, read again when it has changed: what the leader shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from services.eni_manager.domain.ports import EniStore
from services.eni_manager.domain.records import NodeImage
from services.eni_manager.domain.vacancies import Vacancy
from services.eni_manager.vacancies import VacancyViews
from shared.errors import Unavailable
from shared.ids import NodeName

_PAGE: Final = 256
_PAGES_MAX: Final = 512  # of one round


class FollowedImages:
    """What changed is known from what nodes tell of their room, so books are read seldom. Which
    nodes there are, the books themselves say: one that was not told of yet has not left."""

    def __init__(self, store: EniStore, views: VacancyViews) -> None:
        self._store = store
        self._views = views
        self._after = 0
        self._since = 0
        self._told: dict[NodeName, Vacancy] = {}
        self._known: dict[NodeName, NodeImage] = {}
        self._refreshing = asyncio.Lock()
        self.is_known = False  # read as a whole, at least once

    def all(self) -> Mapping[NodeName, NodeImage]:
        return self._known

    async def refresh(self) -> None:
        """Raises Unavailable."""
        async with self._refreshing:
            changed = await self._changed()
            if changed is not None or not self.is_known:
                await self._read(changed or set())
                self.is_known = True

    async def _changed(self) -> set[NodeName] | None:
        """Nodes to be read again; None: nothing is new."""
        names: set[NodeName] = set()
        has_news, after, since = False, self._after, self._since
        for _ in range(_PAGES_MAX):
            page, is_anew = await self._views.page(after=after, since=since, limit=_PAGE)
            if is_anew:
                since, has_news = page.newest, True
            has_news = has_news or bool(page.nodes)
            for each in page.nodes:
                if not is_anew or self._told.get(each.node) != each:
                    names.add(each.node)
                self._told[each.node] = each
            after = page.revision
            if page.is_last:
                break
        else:
            raise Unavailable("nodes change faster than they can be read")
        self._after, self._since = after, page.newest
        return names if has_news else None

    async def _read(self, names: set[NodeName]) -> None:
        records = await self._store.load_nodes()
        known: dict[NodeName, NodeImage] = {}
        for record in records:
            image = None if record.node in names else self._known.get(record.node)
            known[record.node] = image or await self._store.load(record)
        self._known = known
        self._told = {name: it for name, it in self._told.items() if name in known}
