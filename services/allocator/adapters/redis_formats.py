"""Records of a newer version than an operator wants in the store: counted, written again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.store.lease_records import is_newer

from .redis_books import RedisBooks, text_of

_PAGE: Final = 512  # fields of one look
_BATCH_MAX: Final = 128  # records of one script: steps wait while it runs


class RedisFormats(RedisBooks):
    """The store's side of a way back to the release before."""

    async def count_newer(self) -> int:
        return sum([len(tokens) async for tokens in self._newer()])

    async def rewrite_newer(self) -> AsyncGenerator[int, None]:
        """How many records each batch held that are now of version 1."""
        async for tokens in self._newer():
            for start in range(0, len(tokens), _BATCH_MAX):
                batch = tokens[start : start + _BATCH_MAX]
                await self._step("rewrite", [self._epoch, self._fixed], batch, fence=None)
                yield len(batch)

    async def _newer(self) -> AsyncIterator[list[str]]:
        """Their tokens, page by page; one may be told twice."""
        cursor = 0
        while True:
            try:
                cursor, page = await self._store.hscan(self._fixed, cursor, count=_PAGE)
            except (RedisError, OSError) as error:
                raise Unavailable(f"the store: {error}") from error
            assert isinstance(page, dict), "HSCAN answers with fields and values"
            yield [text_of(token) for token, body in page.items() if is_newer(body)]
            if int(cursor) == 0:
                return
