"""Every node's book, read again when it has changed: what the leader shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.eni_manager.domain.ports import EniStore
from services.eni_manager.domain.records import NodeImage
from services.eni_manager.vacancies import VacancyViews
from shared.errors import Unavailable
from shared.ids import NodeName

_PAGE: Final = 256
_PAGES_MAX: Final = 512  # of one round


class FollowedImages:
    """What changed is known from what nodes tell of their room: books are read seldom."""

    def __init__(self, store: EniStore, views: VacancyViews) -> None:
        self._store = store
        self._views = views
        self._after = 0
        self._since = 0
        self._known: dict[NodeName, NodeImage] = {}

    def all(self) -> Mapping[NodeName, NodeImage]:
        return self._known

    async def refresh(self) -> None:
        """Raises Unavailable."""
        names: set[NodeName] = set()
        known, after, since = dict(self._known), self._after, self._since
        for _ in range(_PAGES_MAX):
            page, is_anew = await self._views.page(after=after, since=since, limit=_PAGE)
            if is_anew:
                known, names, since = {}, set(), page.newest
            names |= {each.node for each in page.nodes}
            after = page.revision
            if page.is_last:
                break
        else:
            raise Unavailable("nodes change faster than they can be read")
        if names:
            for record in await self._store.load_nodes():
                if record.node in names:
                    known[record.node] = await self._store.load(record)
        self._known, self._after, self._since = known, after, page.newest
