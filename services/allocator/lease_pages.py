"""Every fixed lease of the store, page by page; what changes meanwhile may be seen or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from .domain.leases import Lease
from .domain.ports import LeaseStore

_PAGE: Final = 512


async def all_leases(leases: LeaseStore) -> AsyncIterator[Lease]:
    cursor = 0
    while True:
        cursor, page = await leases.leases(cursor, _PAGE)
        for lease in page:
            yield lease
        if cursor == 0:
            return
